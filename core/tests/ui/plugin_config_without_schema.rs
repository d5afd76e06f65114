struct Settings;

#[derive(Default)]
struct Hives;

#[skep::plugin(name = "hive", config = Settings)]
impl Hives {}

fn main() {}
