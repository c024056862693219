//! The clients of one round. Each notes what it is about to do, does it, and notes the answer; after
//! the first answer that leaves a doubt it does nothing more.
//!
//! Answers count until the process is told to die, not after. The published client (0.4) reports
//! success for a commit or a batch that it could not send because the placement driver was gone too:
//! it turns the error of looking up the region into an empty list of requests. What it says then is
//! no acknowledgement by the server.

use integration_tests::history::Transfer;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tikv_client::{CheckLevel, Config, RawClient, Timestamp, TimestampExt, TransactionOptions};

use super::{ACCOUNTS, Client, GROUP_KEYS, Model, Shared, account_key, group_key, receipt_prefix};

const RAW_WRITERS: u64 = 2;
const RAW_KEYS: u64 = 8;
const SWAPPERS: u64 = 2;
const COUNTERS: u64 = 2;
const GROUP_WRITERS: u64 = 2;
const GROUPS: u64 = 3;
const TELLERS: u64 = 2;
/// Four of these are more than the client puts into one request: such a transaction commits its
/// primary first and the rest later.
const LARGE: usize = 6 << 10;

/// Connects, and runs until the server is gone.
pub(super) async fn run(pd_endpoints: Vec<String>, model: Shared, seed: u64) {
    let config = Config::default().with_timeout(std::time::Duration::from_secs(30));
    let raw = RawClient::new_with_config(pd_endpoints.clone(), config.clone()).await;
    let transactional = Client::new_with_config(pd_endpoints, config).await;
    // The server may be gone already.
    let (Ok(raw), Ok(transactional)) = (raw, transactional) else {
        return;
    };
    let client = std::sync::Arc::new(transactional);
    let mut rng = StdRng::seed_from_u64(seed);
    let mut task = |n| Task {
        model: model.clone(),
        rng: StdRng::seed_from_u64(rng.random()),
        n,
    };
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..RAW_WRITERS {
        tasks.spawn(endless(write_raw, task(n), raw.clone()));
    }
    for n in 0..SWAPPERS {
        tasks.spawn(endless(swap, task(n), raw.with_atomic_for_cas()));
    }
    for n in 0..GROUP_WRITERS {
        tasks.spawn(endless(write_group, task(n), client.clone()));
    }
    for n in 0..TELLERS {
        tasks.spawn(endless(transfer, task(n), client.clone()));
    }
    tasks.spawn(endless(read_timestamp, task(0), client));
    tasks.join_all().await;
}

struct Task {
    model: Shared,
    rng: StdRng,
    /// Which of its kind.
    n: u64,
}

impl Task {
    /// Notes an answer, if it can still be the server's.
    fn answered(&self, note: impl FnOnce(&mut Model)) -> Step {
        self.model.with(|model| {
            if model.dying {
                return Err(Doubt);
            }
            note(model);
            Ok(())
        })
    }
}

/// After this a client knows nothing certain any more.
struct Doubt;

type Step = Result<(), Doubt>;

async fn endless<C>(step: impl AsyncFn(&mut Task, &C) -> Step, mut task: Task, client: C) {
    while step(&mut task, &client).await.is_ok() {}
}

fn doubt<T>(result: tikv_client::Result<T>) -> Result<T, Doubt> {
    result.map_err(|_| Doubt)
}

/// Puts and deletes, alone and in batches, on keys that are this task's own; now and then reads one.
async fn write_raw(task: &mut Task, client: &RawClient) -> Step {
    let key = format!("raw/{}/{}", task.n, task.rng.random_range(0..RAW_KEYS));
    let value = format!("{:016x}", task.rng.random::<u64>()).into_bytes();
    match task.rng.random_range(0..10) {
        0 => {
            let found = doubt(client.get(key.clone()).await)?;
            return task.answered(|model| {
                let expected = model.raw.expected(&key);
                if found != expected {
                    let text = format!("{key} is {found:?}, acknowledged was {expected:?}");
                    model.violations.push(text);
                }
            });
        }
        1..=3 => {
            task.model.with(|model| model.raw.begin(&key, None));
            doubt(client.delete(key.clone()).await)?;
            task.answered(|model| model.raw.acknowledge(&key))?;
        }
        4..=7 => {
            task.model
                .with(|model| model.raw.begin(&key, Some(value.clone())));
            doubt(client.put(key.clone(), value).await)?;
            task.answered(|model| model.raw.acknowledge(&key))?;
        }
        _ => {
            let keys: Vec<String> = (0..RAW_KEYS)
                .map(|key| format!("raw/{}/{key}", task.n))
                .collect();
            task.model.with(|model| {
                keys.iter()
                    .for_each(|key| model.raw.begin(key, Some(value.clone())));
            });
            let pairs = keys.iter().map(|key| (key.clone(), value.clone()));
            doubt(client.batch_put(pairs).await)?;
            task.answered(|model| keys.iter().for_each(|key| model.raw.acknowledge(key)))?;
        }
    }
    task.answered(|model| model.acknowledged.raw += 1)
}

/// Raises a counter that others raise too.
async fn swap(task: &mut Task, client: &RawClient) -> Step {
    let key = format!("counter/{}", task.rng.random_range(0..COUNTERS));
    let known = doubt(client.get(key.clone()).await)?;
    let number = match &known {
        None => 0,
        Some(bytes) => String::from_utf8_lossy(bytes)
            .parse::<u64>()
            .map_err(|_| Doubt)?,
    };
    task.model.with(|model| model.counters.begin(&key));
    let next = (number + 1).to_string().into_bytes();
    let (_, swapped) = doubt(client.compare_and_swap(key.clone(), known, next).await)?;
    task.answered(|model| {
        if swapped {
            model.counters.acknowledge(&key);
            model.acknowledged.swaps += 1;
        } else {
            model.counters.refuse(&key);
        }
    })
}

/// Writes or deletes several keys in one transaction, all the same.
async fn write_group(task: &mut Task, client: &std::sync::Arc<Client>) -> Step {
    let group = format!("group/{}/{}", task.n, task.rng.random_range(0..GROUPS));
    let value = match task.rng.random_range(0..5) {
        0 => None,
        kind => {
            let mut value = format!("{:016x}", task.rng.random::<u64>()).into_bytes();
            if kind == 1 {
                value.resize(LARGE, b'.');
            }
            Some(value)
        }
    };
    let mut transaction = doubt(client.begin_with_options(options()).await)?;
    for n in 0..GROUP_KEYS {
        let key = group_key(&group, n);
        doubt(match &value {
            Some(value) => transaction.put(key, value.clone()).await,
            None => transaction.delete(key).await,
        })?;
    }
    task.model.with(|model| model.groups.begin(&group, value));
    let happened = finish(&mut transaction).await?;
    task.answered(|model| {
        if happened {
            model.groups.acknowledge(&group);
            model.acknowledged.groups += 1;
        } else {
            model.groups.refuse(&group);
        }
    })
}

/// Moves money between two accounts and leaves a receipt.
async fn transfer(task: &mut Task, client: &std::sync::Arc<Client>) -> Step {
    let from = task.rng.random_range(0..ACCOUNTS);
    let to = (from + task.rng.random_range(1..ACCOUNTS)) % ACCOUNTS;
    let transfer = Transfer {
        from,
        to,
        amount: task.rng.random_range(1..50),
    };
    let prefix = receipt_prefix(task.model.with(|model| model.round));
    let receipt = format!("{prefix}{}-{:016x}", task.n, task.rng.random::<u64>());

    let mut transaction = doubt(client.begin_with_options(options()).await)?;
    let prepared = async {
        for (account, change) in [(from, -transfer.amount), (to, transfer.amount)] {
            let balance = transaction
                .get(account_key(account))
                .await?
                .unwrap_or_default();
            let balance: i64 = String::from_utf8_lossy(&balance)
                .parse()
                .unwrap_or(i64::MIN);
            let changed = balance.saturating_add(change).to_string();
            transaction.put(account_key(account), changed).await?;
        }
        transaction.put(receipt.clone(), Vec::new()).await
    };
    if prepared.await.is_err() {
        // It met a lock for too long, or the server is gone. Nothing was written.
        return doubt(transaction.rollback().await);
    }
    task.model
        .with(|model| model.bank.begin(&receipt, transfer));
    let happened = finish(&mut transaction).await?;
    task.answered(|model| {
        if happened {
            model.bank.acknowledge(&receipt);
            model.acknowledged.transfers += 1;
        } else {
            model.bank.refuse(&receipt);
        }
    })
}

/// Commits. False when the transaction certainly did not happen: the server has confirmed its
/// rollback, which it refuses for a transaction that is committed.
async fn finish(transaction: &mut tikv_client::Transaction) -> Result<bool, Doubt> {
    match transaction.commit().await {
        Ok(_) => Ok(true),
        Err(_) => doubt(transaction.rollback().await).map(|()| false),
    }
}

/// Asks for a timestamp, which must exceed all that were known before.
async fn read_timestamp(task: &mut Task, client: &std::sync::Arc<Client>) -> Step {
    let floor = task.model.with(|model| model.timestamps.floor());
    let ts: Timestamp = doubt(client.current_timestamp().await)?;
    task.model
        .with(|model| match model.timestamps.note(floor, ts.version()) {
            Ok(()) => model.acknowledged.timestamps += 1,
            Err(error) => model.violations.push(error.to_string()),
        });
    Ok(())
}

fn options() -> TransactionOptions {
    TransactionOptions::new_optimistic().drop_check(CheckLevel::None)
}
