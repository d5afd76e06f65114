//! Skep operations that run models in worker processes: spawn, list, get, delete, logs
