#[skep::data]
enum Colour {
    #[serde(alias = "gray")]
    Grey,
}

fn main() {}
