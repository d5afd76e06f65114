#[derive(Default)]
struct Hives;

#[skep::plugin(name = "My Hives")]
impl Hives {}

fn main() {}
