#pragma once
// In place of MLX's header of this name, which specialises on address spaces: in C++ those would be one definition twice.
namespace metal {
template <class T> struct is_empty : bool_constant<std::is_empty<T>::value> {};
template <class T> constexpr bool is_empty_v = is_empty<T>::value;
template <class... Ts> struct make_void { typedef void type; };
template <class... Ts> using void_t = typename make_void<Ts...>::type;
template <class T> struct is_static : bool_constant<is_empty<std::remove_cv_t<T>>::value> {};
template <class T> using pointer_element_t = std::remove_cv_t<std::remove_pointer_t<std::remove_cv_t<T>>>;
template <class T> using remove_addrspace_t = T;
}
