//! x
fn main() { println!("{:?}", std::env::var("GRPCIO_SYS_USE_PKG_CONFIG")); }
