//! How a store comes to an identity and to its first region.
//!
//! A store may crash between any two of these steps, so each one finds out what was done before:
//!
//! 1. The identity (cluster id, store id, format of the data) is written to an engine that must be empty. From then on
//!    the data belongs to that cluster, and a placement driver of another one is refused; so is a
//!    configuration of another format, unless nothing is stored that depends on it.
//! 2. When the cluster has no region yet, a region with one peer is prepared: the region itself, its
//!    state and its apply state go to disk together with a mark that says "prepared, not agreed".
//! 3. The placement driver is asked to bootstrap the cluster with this store and this region. Its
//!    answer decides: agreed, or somebody else was first. An answer that was lost is recovered by
//!    comparing the region that the placement driver has with the prepared one.
//! 4. The mark is removed.
//!
//! Each write is synced before the next step: a region that the placement driver knows must never
//! be one that this store forgot.

use api_version::ApiVersion;
use engine_traits::{
    Cf, EngineIterator as _, IterOptions, KvEngine, WriteBatch as _, WriteOptions,
};
use kvproto::{metapb, raft_serverpb};
use pd_client::PdClient;
use protobuf::Message;

use crate::{Error, Result};

/// Term and index at which the log of a new region starts: what stood before came by bootstrap.
const INIT_LOG_TERM: u64 = 5;
const INIT_LOG_INDEX: u64 = 5;
/// Both halves of a new region's epoch.
const INIT_EPOCH: u64 = 1;

/// What a store is after bootstrap.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// The cluster it belongs to.
    pub cluster_id: u64,
    /// Its id in that cluster.
    pub store_id: u64,
    /// The region that it serves.
    pub region: metapb::Region,
    /// Its peer in that region.
    pub peer: metapb::Peer,
}

/// Finds or creates the identity of the store in `engine` and its region. `store` describes the store
/// to the placement driver; its id is filled in here. The data is in `format` afterwards.
pub(crate) async fn bootstrap<E: KvEngine>(
    engine: &E,
    pd: &dyn PdClient,
    mut store: metapb::Store,
    format: ApiVersion,
) -> Result<Identity> {
    let cluster_id = pd.cluster_id();
    let store_id = match read_ident(engine)? {
        Some(ident) => {
            if ident.get_cluster_id() != cluster_id {
                return Err(Error::ClusterIdMismatch {
                    stored: ident.get_cluster_id(),
                    pd: cluster_id,
                });
            }
            let store_id = ident.get_store_id();
            adopt_format(engine, ident, format)?;
            store_id
        }
        None => {
            let store_id = pd.alloc_id(1).await?;
            require_empty(engine)?;
            let mut ident = raft_serverpb::StoreIdent::default();
            ident.set_cluster_id(cluster_id);
            ident.set_store_id(store_id);
            ident.set_api_version(format.into());
            write_ident(engine, &ident)?;
            tracing::info!(cluster_id, store_id, "store identity written");
            store_id
        }
    };
    store.set_id(store_id);

    let prepared =
        match read::<E, metapb::Region>(engine, Cf::Default, keys::PREPARE_BOOTSTRAP_KEY)? {
            Some(region) => Some(region),
            None if pd.is_bootstrapped().await? => None,
            None => Some(prepare_region(engine, pd, store_id).await?),
        };
    if let Some(region) = prepared {
        agree(engine, pd, store.clone(), region).await?;
    }
    let region = own_region(engine, store_id, cluster_id)?;
    let peer = peer_of(&region, store_id).cloned().ok_or(Error::NoRegion {
        store_id,
        cluster_id,
    })?;
    pd.put_store(store).await?;
    Ok(Identity {
        cluster_id,
        store_id,
        region,
        peer,
    })
}

async fn prepare_region<E: KvEngine>(
    engine: &E,
    pd: &dyn PdClient,
    store_id: u64,
) -> Result<metapb::Region> {
    let mut peer = metapb::Peer::default();
    peer.set_store_id(store_id);
    let mut region = metapb::Region::default();
    region.set_id(pd.alloc_id(1).await?);
    peer.set_id(pd.alloc_id(1).await?);
    region.mut_region_epoch().set_conf_ver(INIT_EPOCH);
    region.mut_region_epoch().set_version(INIT_EPOCH);
    region.mut_peers().push(peer);

    let mut state = raft_serverpb::RegionLocalState::default();
    state.set_state(raft_serverpb::PeerState::Normal);
    state.set_region(region.clone());
    let mut apply = raft_serverpb::RaftApplyState::default();
    apply.set_applied_index(INIT_LOG_INDEX);
    apply.mut_truncated_state().set_index(INIT_LOG_INDEX);
    apply.mut_truncated_state().set_term(INIT_LOG_TERM);

    let mut batch = engine.write_batch();
    batch.put(Cf::Default, keys::PREPARE_BOOTSTRAP_KEY, &bytes(&region)?);
    batch.put(
        Cf::Raft,
        &keys::region_state_key(region.get_id()),
        &bytes(&state)?,
    );
    batch.put(
        Cf::Raft,
        &keys::apply_state_key(region.get_id()),
        &bytes(&apply)?,
    );
    engine.write(batch, &SYNCED)?;
    Ok(region)
}

/// Steps 3 and 4.
async fn agree<E: KvEngine>(
    engine: &E,
    pd: &dyn PdClient,
    store: metapb::Store,
    region: metapb::Region,
) -> Result<()> {
    let ours = match pd.bootstrap_cluster(store, region.clone()).await {
        Ok(_) => true,
        Err(pd_client::Error::AlreadyBootstrapped) => {
            let first = pd.get_region(Vec::new()).await?;
            first.is_some_and(|first| {
                first.region.get_id() == region.get_id()
                    && first.region.get_peers() == region.get_peers()
            })
        }
        Err(error) => return Err(error.into()),
    };
    let mut batch = engine.write_batch();
    batch.delete(Cf::Default, keys::PREPARE_BOOTSTRAP_KEY);
    if !ours {
        batch.delete(Cf::Raft, &keys::region_state_key(region.get_id()));
        batch.delete(Cf::Raft, &keys::apply_state_key(region.get_id()));
    }
    engine.write(batch, &SYNCED)?;
    tracing::info!(region_id = region.get_id(), ours, "cluster bootstrapped");
    Ok(())
}

const SYNCED: WriteOptions = WriteOptions {
    sync: true,
    disable_wal: false,
};

fn read_ident<E: KvEngine>(engine: &E) -> Result<Option<raft_serverpb::StoreIdent>> {
    read(engine, Cf::Default, keys::STORE_IDENT_KEY)
}

fn require_empty<E: KvEngine>(engine: &E) -> Result<()> {
    for cf in Cf::ALL {
        if engine.iter(cf, IterOptions::default())?.seek_to_first()? {
            return Err(Error::NotEmpty { cf: cf.name() });
        }
    }
    Ok(())
}

fn write_ident<E: KvEngine>(engine: &E, ident: &raft_serverpb::StoreIdent) -> Result<()> {
    let mut batch = engine.write_batch();
    batch.put(Cf::Default, keys::STORE_IDENT_KEY, &bytes(ident)?);
    Ok(engine.write(batch, &SYNCED)?)
}

/// Takes the data over into `format`, when it is in another one and nothing in it depends on that.
fn adopt_format<E: KvEngine>(
    engine: &E,
    mut ident: raft_serverpb::StoreIdent,
    format: ApiVersion,
) -> Result<()> {
    let stored = ApiVersion::from(ident.get_api_version());
    if stored == format {
        return Ok(());
    }
    if let Some(cf) = data_of_one_format(engine, stored, format)? {
        return Err(Error::FormatMismatch {
            stored,
            configured: format,
            cf: cf.name(),
        });
    }
    ident.set_api_version(format.into());
    write_ident(engine, &ident)?;
    tracing::info!(?stored, ?format, "the format of the data was changed");
    Ok(())
}

/// A column family with data that the two formats keep differently. Keys of TiDB are the same in V1 and V2.
/// A store of V1 with time to live holds raw data only, so it takes over nothing and gives nothing away.
fn data_of_one_format<E: KvEngine>(
    engine: &E,
    stored: ApiVersion,
    wanted: ApiVersion,
) -> Result<Option<Cf>> {
    // TiDB's keys begin with `m` or `t`, and a key begins with the same byte encoded.
    let beside_tidb: &[(&[u8], &[u8])] = &[(b"", b"m"), (b"n", b"t"), (b"u", b"")];
    let ranges = match [stored, wanted].contains(&ApiVersion::V1ttl) {
        true => &[(&b""[..], &b""[..])],
        false => beside_tidb,
    };
    for cf in Cf::DATA {
        for (start, end) in ranges {
            let within = IterOptions::between(keys::data_key(start), keys::data_end_key(end));
            if engine.iter(cf, within)?.seek_to_first()? {
                return Ok(Some(cf));
            }
        }
    }
    Ok(None)
}

/// The region of this store. Without replication there is exactly one.
fn own_region<E: KvEngine>(engine: &E, store_id: u64, cluster_id: u64) -> Result<metapb::Region> {
    let mut iter = engine.iter(
        Cf::Raft,
        IterOptions {
            lower: Some(keys::REGION_META_MIN_KEY.to_vec()),
            upper: Some(keys::REGION_META_MAX_KEY.to_vec()),
            ..IterOptions::default()
        },
    )?;
    let mut more = iter.seek_to_first()?;
    while more {
        let state = parse::<raft_serverpb::RegionLocalState>(iter.key(), iter.value())?;
        if state.get_state() == raft_serverpb::PeerState::Normal
            && peer_of(state.get_region(), store_id).is_some()
        {
            return Ok(state.get_region().clone());
        }
        more = iter.next()?;
    }
    Err(Error::NoRegion {
        store_id,
        cluster_id,
    })
}

fn peer_of(region: &metapb::Region, store_id: u64) -> Option<&metapb::Peer> {
    region
        .get_peers()
        .iter()
        .find(|peer| peer.get_store_id() == store_id)
}

fn read<E: KvEngine, M: Message>(engine: &E, cf: Cf, key: &[u8]) -> Result<Option<M>> {
    engine
        .get(cf, key)?
        .map(|value| parse(key, &value))
        .transpose()
}

fn parse<M: Message>(key: &[u8], value: &[u8]) -> Result<M> {
    M::parse_from_bytes(value).map_err(|error| Error::LocalState {
        key: key.to_vec(),
        detail: error.to_string(),
    })
}

fn bytes<M: Message>(message: &M) -> Result<Vec<u8>> {
    message.write_to_bytes().map_err(|error| Error::LocalState {
        key: Vec::new(),
        detail: error.to_string(),
    })
}

#[cfg(test)]
mod tests;
