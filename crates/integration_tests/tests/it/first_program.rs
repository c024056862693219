//! The programs that the top README shows: those in the tree are the same, and they work.

use std::process::Command;

use integration_tests::{TikvServer, binaries};

const README: &str = include_str!("../../../../README.md");
const OPTIMISTIC: &str = include_str!("../../examples/first_program.rs");
const PESSIMISTIC: &str = include_str!("../../examples/pessimistic_program.rs");

fn assert_shown(number: usize, example: &str) {
    let shown = README
        .split("```rust\n")
        .nth(number)
        .and_then(|rest| rest.split("```").next())
        .expect("a program in the README");
    let begin = example
        .find("use tikv_client")
        .expect("the program's first line");
    let end = example.find("\n}\n").expect("the end of main") + "\n}\n".len();
    let program = example[begin..end].replace("pd_endpoint()", "\"127.0.0.1:2379\"");
    assert_eq!(program, shown);
}

#[test]
fn readme_and_examples_agree() {
    assert_shown(1, OPTIMISTIC);
    assert_shown(2, PESSIMISTIC);
}

async fn run(name: &'static str, server: &TikvServer) -> String {
    let program = binaries::example(name).unwrap();
    let output = tokio::task::spawn_blocking({
        let endpoint = server.pd_endpoints().remove(0);
        move || {
            Command::new(program)
                .env("PD_ADDR", endpoint)
                .output()
                .unwrap()
        }
    });
    let output = output.await.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn they_work() {
    let mut server = TikvServer::start().await.unwrap();
    let printed = run("first_program", &server).await;
    assert_eq!(printed, "alice has Some(Ok(\"90\"))\n");
    for visit in 1..3 {
        let printed = run("pessimistic_program", &server).await;
        assert_eq!(printed, format!("visit number {visit}\n"));
    }
    server.stop().await.unwrap();
}
