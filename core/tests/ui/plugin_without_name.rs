#[derive(Default)]
struct Hives;

#[skep::plugin]
impl Hives {}

fn main() {}
