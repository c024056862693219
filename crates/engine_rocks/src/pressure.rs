//! How far the engine is behind, and where it would begin to hold writers back by itself.
//!
//! RocksDB's own brakes stay on as the last resort, behind those of whoever admits writes: they act on everybody at
//! once, and while it waits for a flush nobody can be told anything.

use engine_traits::{Backlog, Cf, CfPressure, HeldBack, WritePressure};
use rocksdb::{Options, properties};

use crate::config::CfConfig;
use crate::database::Database;

/// Files of level 0 from which RocksDB slows writers down, and at which it stops them. Its own defaults are where
/// the flow control of a server only begins.
const LEVEL0_SLOWDOWN: u32 = 32;
const LEVEL0_STOP: u32 = 48;
const _: () = assert!(LEVEL0_SLOWDOWN < LEVEL0_STOP);
/// Bytes of pending compactions for the same. Above what the flow control refuses writes at.
const PENDING_COMPACTION_SLOWDOWN: u64 = 3 << 39;
const PENDING_COMPACTION_STOP: u64 = 4 << 39;

/// What one column family bears.
#[derive(Clone, Copy)]
pub(crate) struct Bears {
    limit: Backlog,
    mem_table_bytes: u64,
}

impl Bears {
    pub(crate) fn of(config: &CfConfig) -> Self {
        let buffers = u64::try_from(config.max_write_buffer_number).unwrap_or(1);
        Bears {
            limit: Backlog {
                // With more than three buffers writers are slowed one before they are stopped.
                immutable_mem_tables: if buffers > 3 { buffers - 1 } else { buffers },
                level0_files: LEVEL0_SLOWDOWN.into(),
                pending_compaction_bytes: PENDING_COMPACTION_SLOWDOWN,
            },
            mem_table_bytes: config.write_buffer_size.0,
        }
    }
}

/// Sets the brakes of a column family.
pub(crate) fn set_brakes(options: &mut Options) {
    let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    options.set_level_zero_slowdown_writes_trigger(LEVEL0_SLOWDOWN.cast_signed());
    options.set_level_zero_stop_writes_trigger(LEVEL0_STOP.cast_signed());
    options.set_soft_pending_compaction_bytes_limit(bytes(PENDING_COMPACTION_SLOWDOWN));
    options.set_hard_pending_compaction_bytes_limit(bytes(PENDING_COMPACTION_STOP));
}

/// The pressure of this moment.
pub(crate) fn of(database: &Database) -> WritePressure {
    let pressure = |cf: Cf| {
        let Bears {
            limit,
            mem_table_bytes,
        } = database.bears(cf);
        let property = |name| database.property(cf, name);
        CfPressure {
            cf,
            backlog: Backlog {
                immutable_mem_tables: property(properties::NUM_IMMUTABLE_MEM_TABLE),
                level0_files: database.property(cf, &properties::num_files_at_level(0)),
                pending_compaction_bytes: property(properties::ESTIMATE_PENDING_COMPACTION_BYTES),
            },
            limit,
            mem_table_bytes,
        }
    };
    let of_all = |name| database.property(Cf::Default, name);
    let held_back = if of_all(properties::IS_WRITE_STOPPED) > 0 {
        HeldBack::Stopped
    } else if of_all(properties::ACTUAL_DELAYED_WRITE_RATE) > 0 {
        HeldBack::Slowed
    } else {
        HeldBack::Free
    };
    WritePressure {
        cfs: Cf::DATA.map(pressure),
        held_back,
    }
}
