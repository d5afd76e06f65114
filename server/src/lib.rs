//! The skep server and command line
