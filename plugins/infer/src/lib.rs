//! The skep operation that asks a model
