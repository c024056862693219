//! Every path that is served, in one list: the router and the documentation are made from it.

use axum::routing::{MethodRouter, delete, get, patch, post, put};

use super::{Http, admin, cluster, config, gc, keyspaces, metrics, regions, schedule, stores};

/// A path and what it answers.
pub struct HttpRoute {
    /// `{name}` stands for one segment.
    pub path: &'static str,
    /// The methods, for people.
    pub methods: &'static str,
    /// What it is, for people.
    pub about: &'static str,
    pub(super) handler: fn() -> MethodRouter<Http>,
}

const fn route(
    path: &'static str,
    methods: &'static str,
    about: &'static str,
    handler: fn() -> MethodRouter<Http>,
) -> HttpRoute {
    HttpRoute {
        path,
        methods,
        about,
        handler,
    }
}

/// See the module.
pub const ROUTES: &[HttpRoute] = &[
    route("/metrics", "GET", "what is counted, for Prometheus", || {
        get(metrics)
    }),
    route("/pd/api/v1/version", "GET", "the version", || {
        get(cluster::version)
    }),
    route(
        "/pd/api/v1/status",
        "GET",
        "version, revision, start",
        || get(cluster::status),
    ),
    route(
        "/pd/api/v1/ping",
        "GET",
        "nothing, when it is alive",
        || get(cluster::ping),
    ),
    route("/pd/api/v1/health", "GET", "health of each member", || {
        get(cluster::health)
    }),
    route("/pd/api/v1/members", "GET", "members and leaders", || {
        get(cluster::members)
    }),
    route("/pd/api/v1/leader", "GET", "the leader", || {
        get(cluster::leader)
    }),
    route("/pd/api/v1/cluster", "GET", "id and replicas", || {
        get(cluster::cluster)
    }),
    route(
        "/pd/api/v1/cluster/status",
        "GET",
        "whether there is a first region, since when",
        || get(cluster::cluster_status),
    ),
    route(
        "/pd/api/v1/min-resolved-ts",
        "GET",
        "`scope`: `cluster` or ids of stores",
        || get(cluster::min_resolved_ts),
    ),
    route(
        "/pd/api/v1/min-resolved-ts/{store_id}",
        "GET",
        "of one store",
        || get(cluster::min_resolved_ts_of),
    ),
    route(
        "/pd/api/v1/stores",
        "GET",
        "stores; `state` selects",
        || get(stores::all),
    ),
    route("/pd/api/v1/store/{id}", "GET", "one store", || {
        get(stores::one)
    }),
    route("/pd/api/v1/regions", "GET", "all regions", || {
        get(regions::all)
    }),
    route(
        "/pd/api/v1/regions/count",
        "GET",
        "how many regions there are",
        || get(regions::count),
    ),
    route(
        "/pd/api/v1/regions/key",
        "GET",
        "regions from `key` to `end_key`, at most `limit`",
        || get(regions::from_key),
    ),
    route(
        "/pd/api/v1/regions/store/{id}",
        "GET",
        "regions with a peer on a store",
        || get(regions::of_store),
    ),
    route(
        "/pd/api/v1/region/id/{id}",
        "GET",
        "one region; `null` when there is none",
        || get(regions::by_id),
    ),
    route(
        "/pd/api/v1/region/key/{key}",
        "GET",
        "the region of a key; `format=hex`",
        || get(regions::by_key),
    ),
    route(
        "/pd/api/v1/stats/region",
        "GET",
        "sums over regions of a range",
        || get(regions::stats),
    ),
    route(
        "/pd/api/v1/config",
        "GET, POST",
        "all settings; `ttlSecond` for a while",
        || get(config::all).post(config::set),
    ),
    route(
        "/pd/api/v1/config/cluster-version",
        "GET",
        "the version that all stores have",
        || get(config::cluster_version),
    ),
    route(
        "/pd/api/v1/config/schedule",
        "GET, POST",
        "settings of scheduling, kept and reported",
        || get(config::schedule).post(config::set_schedule),
    ),
    route(
        "/pd/api/v1/config/replicate",
        "GET, POST",
        "settings of replication, kept and reported",
        || get(config::replication).post(config::set_replication),
    ),
    route(
        "/pd/api/v1/config/rules",
        "GET, POST",
        "placement rules: disabled (412)",
        no_rules,
    ),
    route(
        "/pd/api/v1/config/rules/{*rest}",
        "GET, POST",
        "disabled (412)",
        no_rules,
    ),
    route("/pd/api/v1/config/rule", "POST", "disabled (412)", no_rules),
    route(
        "/pd/api/v1/config/rule/{*rest}",
        "GET, DELETE",
        "disabled (412)",
        no_rules,
    ),
    route(
        "/pd/api/v1/config/rule_groups",
        "GET",
        "disabled (412)",
        no_rules,
    ),
    route(
        "/pd/api/v1/config/placement-rule",
        "GET, POST",
        "disabled (412)",
        no_rules,
    ),
    route(
        "/pd/api/v1/config/placement-rule/{*rest}",
        "GET, POST, DELETE",
        "disabled (412)",
        no_rules,
    ),
    route(
        "/pd/api/v1/gc/safepoint",
        "GET",
        "safe points and who holds them",
        || get(gc::all),
    ),
    route(
        "/pd/api/v1/gc/safepoint/{service_id}",
        "DELETE",
        "lets a service's safe point go",
        || delete(gc::release),
    ),
    route("/pd/api/v1/schedulers", "GET, POST", "none", || {
        get(schedule::none).post(schedule::no_scheduler)
    }),
    route(
        "/pd/api/v1/schedulers/{name}",
        "POST, DELETE",
        "not found (404)",
        || post(schedule::no_scheduler).delete(schedule::no_scheduler),
    ),
    route("/pd/api/v1/operators", "GET", "none", || {
        get(schedule::none)
    }),
    route(
        "/pd/api/v1/operators/{region_id}",
        "GET, DELETE",
        "not found (404)",
        || get(schedule::no_operator).delete(schedule::no_operator),
    ),
    route(
        "/pd/api/v1/checker/{name}",
        "GET, POST",
        "whether a checker is paused; `delay` pauses",
        || get(schedule::checker).post(schedule::pause_checker),
    ),
    route("/pd/api/v1/hotspot/regions/read", "GET", "none", || {
        get(schedule::no_hot_regions)
    }),
    route("/pd/api/v1/hotspot/regions/write", "GET", "none", || {
        get(schedule::no_hot_regions)
    }),
    route("/pd/api/v1/hotspot/regions/history", "GET", "none", || {
        get(schedule::no_history)
    }),
    route("/pd/api/v1/hotspot/stores", "GET", "none", || {
        get(schedule::no_hot_stores)
    }),
    route(
        "/pd/api/v1/admin/reset-ts",
        "POST",
        "moves timestamps ahead",
        || post(admin::reset_ts),
    ),
    route(
        "/pd/api/v1/admin/base-alloc-id",
        "POST",
        "moves ids ahead",
        || post(admin::raise_ids),
    ),
    route(
        "/pd/api/v2/keyspaces",
        "GET, POST",
        "keyspaces by page; a new one",
        || get(keyspaces::page).post(keyspaces::create),
    ),
    route("/pd/api/v2/keyspaces/{name}", "GET", "one keyspace", || {
        get(keyspaces::by_name)
    }),
    route(
        "/pd/api/v2/keyspaces/id/{id}",
        "GET",
        "one keyspace",
        || get(keyspaces::by_id),
    ),
    route(
        "/pd/api/v2/keyspaces/{name}/config",
        "PATCH",
        "changes entries; `null` removes",
        || patch(keyspaces::configure),
    ),
    route(
        "/pd/api/v2/keyspaces/{name}/state",
        "PUT",
        "the next state",
        || put(keyspaces::set_state),
    ),
];

fn no_rules() -> MethodRouter<Http> {
    let refused = schedule::no_rules;
    get(refused).post(refused).delete(refused)
}
