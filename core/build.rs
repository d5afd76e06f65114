//! Empty: Cargo wants a build script beside `links`, and `links` makes it refuse two copies of core in one build.

fn main() {}
