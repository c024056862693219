//! Two whole nodes in one process: each with its placement driver, its data, its port and its status
//! page. Neither knows of the other; one stops while the other goes on, and comes back with its data.
//!
//! `cargo run -p server --example two_nodes`

#![allow(clippy::print_stdout, reason = "a program that talks to people")]

use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use futures::executor::block_on;
use grpcio::{ChannelBuilder, Environment};
use kvproto::kvrpcpb::{Context, RawGetRequest, RawPutRequest};
use kvproto::tikvpb::TikvClient;
use server::config::Config;
use server::{Node, NodeBuilder};

fn main() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let env = Arc::new(Environment::new(1));
    let (left, right) = (
        directory.path().join("left"),
        directory.path().join("right"),
    );
    let first = start(&left)?;
    let second = start(&right)?;
    for (name, node) in [("first", &first), ("second", &second)] {
        println!(
            "the {name} node is store {} of cluster {}, clients connect to {}",
            node.identity().store_id,
            node.identity().cluster_id,
            node.addrs().pd.join(",")
        );
    }
    ensure!(first.identity().cluster_id != second.identity().cluster_id);

    put(&env, &first, "1")?;
    put(&env, &second, "2")?;
    ensure!(get(&env, &first)?.as_deref() == Some("1"));
    ensure!(get(&env, &second)?.as_deref() == Some("2"));
    println!("one key has a value on each");

    let addrs = first.addrs().clone();
    block_on(first.shutdown());
    for addr in [addrs.listen, addrs.status].into_iter().flatten() {
        ensure!(TcpStream::connect(addr).is_err(), "{addr} still answers");
    }
    ensure!(get(&env, &second)?.as_deref() == Some("2"));
    println!("the first has stopped, the second goes on");

    let first = start(&left)?;
    ensure!(get(&env, &first)?.as_deref() == Some("1"));
    println!("the first is back with its data");
    block_on(second.shutdown());
    block_on(first.shutdown());
    Ok(())
}

fn start(data_dir: &Path) -> anyhow::Result<Node> {
    let mut config = Config::default();
    config.storage.data_dir = data_dir.to_owned();
    // The system chooses the ports.
    config.server.addr = "127.0.0.1:0".to_owned();
    config.server.status_addr = "127.0.0.1:0".to_owned();
    config.pd.embedded.addr = "127.0.0.1:0".to_owned();
    Ok(NodeBuilder::new(config).start()?)
}

fn client(env: &Arc<Environment>, node: &Node) -> TikvClient {
    let channel = ChannelBuilder::new(env.clone()).connect(&node.addrs().advertised);
    TikvClient::new(channel)
}

/// The envelope of requests for the node's only region; a client learns it from the placement driver.
fn envelope(node: &Node) -> Context {
    let identity = node.identity();
    let mut context = Context::default();
    context.set_region_id(identity.region.get_id());
    context.set_region_epoch(identity.region.get_region_epoch().clone());
    context.set_peer(identity.peer.clone());
    context
}

fn put(env: &Arc<Environment>, node: &Node, value: &str) -> anyhow::Result<()> {
    let mut request = RawPutRequest::default();
    request.set_context(envelope(node));
    request.set_key(b"k".to_vec());
    request.set_value(value.as_bytes().to_vec());
    let response = client(env, node).raw_put(&request).context("put")?;
    ensure!(
        response.get_error().is_empty() && !response.has_region_error(),
        "{response:?}"
    );
    Ok(())
}

fn get(env: &Arc<Environment>, node: &Node) -> anyhow::Result<Option<String>> {
    let mut request = RawGetRequest::default();
    request.set_context(envelope(node));
    request.set_key(b"k".to_vec());
    let mut response = client(env, node).raw_get(&request).context("get")?;
    ensure!(
        response.get_error().is_empty() && !response.has_region_error(),
        "{response:?}"
    );
    Ok(match response.get_not_found() {
        true => None,
        false => Some(String::from_utf8(response.take_value())?),
    })
}
