// What a translated kernel includes first. Address spaces vanish here: they are not checked.
#pragma once
#include "matrix.h"
using namespace metal;
#define device
#define constant
#define thread
#define threadgroup
