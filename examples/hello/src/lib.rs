//! The smallest skep plugin
