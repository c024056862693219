//! Raw and transactional operations, through the published client.
//!
//! The client finds regions, repeats what can be repeated and resolves locks. Here are only the way
//! from words to calls and the transaction that a shell may have open; and scans of raw keys, at which
//! the client does not know where to stop: see [`crate::raw_scan`]. Must never: leave a
//! transaction open when the program ends; [`Data::close`] rolls it back.

use anyhow::{Context as _, anyhow, bail};
use tikv_client::{
    BoundRange, CheckLevel, Config, RawClient, Timestamp, TimestampExt as _, Transaction,
    TransactionClient, TransactionOptions,
};

use crate::answer::Answer;
use crate::cluster::Cluster;
use crate::flags::{RawOp, ScanArgs, Target, TxnOp};
use crate::key::{self, KeyForm};
use crate::raw_scan::{Order, Pairs, RawScan};
use crate::timestamp;

/// How transactions meet conflicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conflicts {
    /// Found at the end.
    Optimistic,
    /// Kept away by locks.
    Pessimistic,
}

/// Access to the data of a cluster. Clients connect when they are first needed.
pub(crate) struct Data {
    target: Target,
    form: KeyForm,
    raw: Option<RawClient>,
    txn: Option<TransactionClient>,
    open: Option<Transaction>,
}

impl Data {
    pub(crate) fn new(target: Target, form: KeyForm) -> Data {
        Data {
            target,
            form,
            raw: None,
            txn: None,
            open: None,
        }
    }

    /// Whether a transaction is open.
    pub(crate) fn in_transaction(&self) -> bool {
        self.open.is_some()
    }

    fn config(&self) -> Config {
        let target = &self.target;
        let mut config = Config::default().with_timeout(target.timeout.0);
        if let (Some(ca), Some(cert), Some(key)) =
            (&target.ca_path, &target.cert_path, &target.key_path)
        {
            config = config.with_security(ca, cert, key);
        }
        match &target.keyspace {
            Some(keyspace) => config.with_keyspace(keyspace),
            None => config,
        }
    }

    async fn raw(&mut self) -> anyhow::Result<RawClient> {
        if self.raw.is_none() {
            let client = RawClient::new_with_config(self.target.pd.clone(), self.config());
            self.raw = Some(client.await.with_context(|| self.unreachable())?);
        }
        self.raw.clone().context("a client that was just made")
    }

    async fn txn(&mut self) -> anyhow::Result<&TransactionClient> {
        if self.txn.is_none() {
            let client = TransactionClient::new_with_config(self.target.pd.clone(), self.config());
            self.txn = Some(client.await.with_context(|| self.unreachable())?);
        }
        self.txn.as_ref().context("a client that was just made")
    }

    fn unreachable(&self) -> String {
        let pd = self.target.pd.join(",");
        format!("cannot connect to the cluster behind {pd}; --pd names its placement driver")
    }

    fn bytes(&self, text: &str) -> anyhow::Result<Vec<u8>> {
        key::parse(text, self.form).map_err(|error| anyhow!("{text}: {error}"))
    }

    fn range(&self, args: &ScanArgs) -> anyhow::Result<BoundRange> {
        let start = self.bytes(&args.start)?;
        Ok(match &args.end {
            Some(end) => BoundRange::from(start..self.bytes(end)?),
            None => BoundRange::from(start..),
        })
    }

    /// Runs a command on raw keys.
    pub(crate) async fn run_raw(&mut self, op: RawOp) -> anyhow::Result<Answer> {
        let client = self.raw().await?;
        Ok(match op {
            RawOp::Get { key } => Answer::value(client.get(self.bytes(&key)?).await?.as_deref()),
            RawOp::Put { key, value, ttl } => {
                let (key, value) = (self.bytes(&key)?, self.bytes(&value)?);
                match ttl {
                    0 => client.put(key, value).await?,
                    ttl => client.put_with_ttl(key, value, ttl).await?,
                }
                Answer::done("written")
            }
            RawOp::Delete { key } => {
                client.delete(self.bytes(&key)?).await?;
                Answer::done("removed")
            }
            RawOp::DeleteRange { start, end } => {
                let range = self.bytes(&start)?..self.bytes(&end)?;
                client.delete_range(range).await?;
                Answer::done("removed")
            }
            RawOp::Scan(args) => Answer::pairs(&self.raw_scan(&args).await?),
            RawOp::CompareAndSwap {
                key,
                value,
                previous,
            } => {
                let previous = previous.map(|value| self.bytes(&value)).transpose()?;
                let (key, value) = (self.bytes(&key)?, self.bytes(&value)?);
                let client = client.with_atomic_for_cas();
                let (found, swapped) = client.compare_and_swap(key, previous, value).await?;
                if !swapped {
                    let found = Answer::value(found.as_deref()).show(false);
                    bail!("not written: the value is {found}");
                }
                Answer::done("written")
            }
            RawOp::Ttl { key } => match client.get_key_ttl_secs(self.bytes(&key)?).await? {
                Some(0) => Answer::both("(stays)".into(), serde_json::json!({ "ttl": null })),
                Some(ttl) => Answer::both(format!("{ttl}s"), serde_json::json!({ "ttl": ttl })),
                None => Answer::value(None),
            },
        })
    }

    async fn raw_scan(&self, args: &ScanArgs) -> anyhow::Result<Pairs> {
        let end = args.end.as_deref().map(|end| self.bytes(end));
        let scan = RawScan {
            start: self.bytes(&args.start)?,
            end: end.transpose()?,
            limit: args.limit,
            order: if args.reverse {
                Order::Descending
            } else {
                Order::Ascending
            },
            keys_only: args.keys_only,
        };
        let cluster = Cluster::connect(&self.target).await?;
        scan.run(&cluster, self.target.keyspace.as_deref()).await
    }

    /// Begins a transaction that the next commands are in.
    pub(crate) async fn begin(&mut self, conflicts: Conflicts) -> anyhow::Result<Answer> {
        if self.in_transaction() {
            bail!("a transaction is open already; commit it or roll it back");
        }
        let txn = self.start(conflicts).await?;
        let at = txn.start_timestamp().version();
        self.open = Some(txn);
        Ok(Answer::both(
            format!("begun at {}", timestamp::show(at)),
            serde_json::json!({ "start_ts": at }),
        ))
    }

    async fn start(&mut self, conflicts: Conflicts) -> anyhow::Result<Transaction> {
        let options = match conflicts {
            Conflicts::Optimistic => TransactionOptions::new_optimistic(),
            Conflicts::Pessimistic => TransactionOptions::new_pessimistic(),
        };
        // What is left open is rolled back by `close`; a warning of the client would say nothing new.
        let options = options.drop_check(CheckLevel::None);
        Ok(self.txn().await?.begin_with_options(options).await?)
    }

    fn open_transaction(&mut self) -> anyhow::Result<&mut Transaction> {
        self.open
            .as_mut()
            .context("no transaction is open; begin one first")
    }

    /// Ends the open transaction with its changes.
    pub(crate) async fn commit(&mut self) -> anyhow::Result<Answer> {
        let committed = self.open_transaction()?.commit().await;
        // Whatever came of it, the client lets nobody go on with it.
        self.open = None;
        Ok(committed_at(committed?.as_ref()))
    }

    /// Ends the open transaction without its changes.
    pub(crate) async fn rollback(&mut self) -> anyhow::Result<Answer> {
        let rolled_back = self.open_transaction()?.rollback().await;
        self.open = None;
        rolled_back?;
        Ok(Answer::done("rolled back"))
    }

    /// Locks keys in the open transaction.
    pub(crate) async fn lock(&mut self, keys: &[String]) -> anyhow::Result<Answer> {
        let keys: anyhow::Result<Vec<_>> = keys.iter().map(|key| self.bytes(key)).collect();
        self.open_transaction()?.lock_keys(keys?).await?;
        Ok(Answer::done("locked"))
    }

    /// Runs a command in the open transaction, or in one of its own.
    pub(crate) async fn run_txn(&mut self, op: TxnOp) -> anyhow::Result<Answer> {
        if let Some(mut txn) = self.open.take() {
            let answer = self.within(&mut txn, &op).await;
            self.open = Some(txn);
            return answer;
        }
        let mut txn = self.start(Conflicts::Optimistic).await?;
        let answer = self.within(&mut txn, &op).await;
        if answer.is_err() || matches!(op, TxnOp::Get { .. } | TxnOp::Scan(_)) {
            // Nothing was written: an error here is not what the caller should hear of.
            let _ = txn.rollback().await;
            return answer;
        }
        Ok(committed_at(txn.commit().await?.as_ref()))
    }

    async fn within(&self, txn: &mut Transaction, op: &TxnOp) -> anyhow::Result<Answer> {
        Ok(match op {
            TxnOp::Get { key } => Answer::value(txn.get(self.bytes(key)?).await?.as_deref()),
            TxnOp::Put { key, value } => {
                txn.put(self.bytes(key)?, self.bytes(value)?).await?;
                Answer::done("put")
            }
            TxnOp::Insert { key, value } => {
                txn.insert(self.bytes(key)?, self.bytes(value)?).await?;
                Answer::done("inserted")
            }
            TxnOp::Delete { key } => {
                txn.delete(self.bytes(key)?).await?;
                Answer::done("deleted")
            }
            TxnOp::Scan(args) => {
                let (range, limit) = (self.range(args)?, args.limit);
                Answer::pairs(&match (args.keys_only, args.reverse) {
                    (true, false) => keys(txn.scan_keys(range, limit).await?),
                    (true, true) => keys(txn.scan_keys_reverse(range, limit).await?),
                    (false, false) => pairs(txn.scan(range, limit).await?),
                    (false, true) => pairs(txn.scan_reverse(range, limit).await?),
                })
            }
        })
    }

    /// Rolls an open transaction back, so that nobody waits for its locks.
    pub(crate) async fn close(&mut self) -> anyhow::Result<()> {
        match self.open.take() {
            Some(mut txn) => Ok(txn.rollback().await?),
            None => Ok(()),
        }
    }
}

fn pairs(found: impl IntoIterator<Item = tikv_client::KvPair>) -> Pairs {
    let pair = |pair: tikv_client::KvPair| {
        let (key, value) = (pair.0.into(), pair.1);
        (key, Some(value))
    };
    found.into_iter().map(pair).collect()
}

fn keys(found: impl IntoIterator<Item = tikv_client::Key>) -> Pairs {
    found.into_iter().map(|key| (key.into(), None)).collect()
}

fn committed_at(at: Option<&Timestamp>) -> Answer {
    match at {
        Some(at) => Answer::both(
            format!("committed at {}", timestamp::show(at.version())),
            serde_json::json!({ "commit_ts": at.version() }),
        ),
        None => Answer::both(
            "nothing to commit".to_owned(),
            serde_json::json!({ "commit_ts": null }),
        ),
    }
}
