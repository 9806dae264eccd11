#pragma once
// In place of MLX's own: kernels here use nothing of it.
