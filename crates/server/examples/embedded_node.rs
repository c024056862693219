//! A whole node inside another program: started, asked, stopped.

use std::io::Write as _;

use server::NodeBuilder;
use server::config::Config;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::temp_dir().join(format!("embedded-node-{}", std::process::id()));
    let mut config = Config::default();
    config.storage.data_dir.clone_from(&dir);
    // The system chooses the ports.
    config.server.addr = "127.0.0.1:0".to_owned();
    config.server.status_addr = "127.0.0.1:0".to_owned();
    config.pd.embedded.addr = "127.0.0.1:0".to_owned();
    let node = NodeBuilder::new(config).start()?;
    writeln!(
        std::io::stdout(),
        "store {} of cluster {} serves at {}; clients connect to {}",
        node.identity().store_id,
        node.identity().cluster_id,
        node.addrs().advertised,
        node.addrs().pd.join(",")
    )?;
    futures::executor::block_on(node.shutdown());
    std::fs::remove_dir_all(dir)?;
    Ok(())
}
