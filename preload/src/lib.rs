//! libiris.so: the hooks.
