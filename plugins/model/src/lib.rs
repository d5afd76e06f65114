//! Skep operations that keep model files: import, list, get, delete
