//! The program that the top README shows: the one in the tree is the same, and it works.

use std::process::Command;

use integration_tests::{TikvServer, binaries};

const README: &str = include_str!("../../../../README.md");
const EXAMPLE: &str = include_str!("../../examples/first_program.rs");

#[test]
fn readme_and_example_agree() {
    let shown = README
        .split("```rust\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .expect("a program in the README");
    let begin = EXAMPLE
        .find("use tikv_client")
        .expect("the program's first line");
    let end = EXAMPLE.find("\n}\n").expect("the end of main") + "\n}\n".len();
    let program = EXAMPLE[begin..end].replace("pd_endpoint()", "\"127.0.0.1:2379\"");
    assert_eq!(program, shown);
}

#[tokio::test]
async fn it_works() {
    let mut server = TikvServer::start().await.unwrap();
    let program = binaries::example("first_program").unwrap();
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
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "alice has Some(Ok(\"90\"))\n"
    );
    server.stop().await.unwrap();
}
