//! The program of the top README, whose placement driver may be elsewhere: `PD_ADDR` or the first
//! argument names it. A test keeps the two the same.

#![allow(clippy::print_stdout, reason = "it shows what it has read")]
#![allow(
    clippy::result_large_err,
    reason = "the error is the published client's"
)]

use tikv_client::TransactionClient;

#[tokio::main]
async fn main() -> Result<(), tikv_client::Error> {
    let client = TransactionClient::new(vec![pd_endpoint()]).await?;

    let mut transfer = client.begin_optimistic().await?;
    transfer.put("alice".to_owned(), "90".to_owned()).await?;
    transfer.put("bob".to_owned(), "110".to_owned()).await?;
    transfer.commit().await?;

    let mut reader = client.begin_optimistic().await?;
    let alice = reader.get("alice".to_owned()).await?;
    reader.rollback().await?;
    println!("alice has {:?}", alice.map(String::from_utf8));
    Ok(())
}

fn pd_endpoint() -> String {
    std::env::args()
        .nth(1)
        .or_else(|| std::env::var("PD_ADDR").ok())
        .unwrap_or_else(|| "127.0.0.1:2379".to_owned())
}
