//! The pessimistic program of the top README, whose placement driver may be elsewhere: `PD_ADDR` or the first
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

    let mut counter = client.begin_pessimistic().await?;
    let before = counter.get_for_update("visits".to_owned()).await?;
    let visits = before.map_or(0, |bytes| {
        String::from_utf8_lossy(&bytes).parse().unwrap_or(0)
    });
    counter
        .put("visits".to_owned(), (visits + 1).to_string())
        .await?;
    counter.commit().await?;
    println!("visit number {}", visits + 1);
    Ok(())
}

fn pd_endpoint() -> String {
    std::env::args()
        .nth(1)
        .or_else(|| std::env::var("PD_ADDR").ok())
        .unwrap_or_else(|| "127.0.0.1:2379".to_owned())
}
