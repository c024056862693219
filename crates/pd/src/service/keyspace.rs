//! The calls of `keyspacepb.Keyspace`. Creating keyspaces comes through HTTP.

use futures::future::{Either, select};
use futures::{FutureExt as _, SinkExt as _};
use grpcio::{RpcContext, RpcStatus, ServerStreamingSink, UnarySink, WriteFlags};
use kvproto::keyspacepb::{
    GetAllKeyspacesRequest, GetAllKeyspacesResponse, Keyspace, KeyspaceMeta,
    LoadKeyspaceByIDRequest, LoadKeyspaceRequest, LoadKeyspaceResponse, LookupKeyspaceRequest,
    LookupKeyspaceResponse, UpdateKeyspaceStateRequest, UpdateKeyspaceStateResponse,
    WatchKeyspacesRequest, WatchKeyspacesResponse,
};
use kvproto::pdpb::RequestHeader;

use super::Service;
use crate::cluster::Cluster;
use crate::keyspaces::{ConfigChange, Keyspaces};
use crate::state::PdState;
use crate::{Error, Result};

impl Keyspace for Service {
    fn load_keyspace(
        &mut self,
        ctx: RpcContext<'_>,
        req: LoadKeyspaceRequest,
        sink: UnarySink<LoadKeyspaceResponse>,
    ) {
        let service = self.clone();
        self.answer(&ctx, sink, async move {
            no_namespace(req.has_namespace())?;
            let look = |keyspaces: &Keyspaces| keyspaces.by_name(req.get_name()).cloned();
            let mut response = LoadKeyspaceResponse::default();
            response.set_keyspace(service.look_up(req.get_header(), look).await?);
            Ok(response)
        });
    }

    fn lookup_keyspace(
        &mut self,
        ctx: RpcContext<'_>,
        req: LookupKeyspaceRequest,
        sink: UnarySink<LookupKeyspaceResponse>,
    ) {
        let service = self.clone();
        self.answer(&ctx, sink, async move {
            let look = |keyspaces: &Keyspaces| keyspaces.by_name(req.get_name()).cloned();
            let found = service.look_up(req.get_header(), look).await?;
            let mut response = LookupKeyspaceResponse::default();
            response.mut_keyspaces().push(found);
            Ok(response)
        });
    }

    fn load_keyspace_by_id(
        &mut self,
        ctx: RpcContext<'_>,
        req: LoadKeyspaceByIDRequest,
        sink: UnarySink<LoadKeyspaceResponse>,
    ) {
        let service = self.clone();
        self.answer(&ctx, sink, async move {
            let look = |keyspaces: &Keyspaces| {
                no_identity(req.has_keyspace_identity())?;
                keyspaces.by_id(req.get_id()).cloned()
            };
            let mut response = LoadKeyspaceResponse::default();
            response.set_keyspace(service.look_up(req.get_header(), look).await?);
            Ok(response)
        });
    }

    fn get_all_keyspaces(
        &mut self,
        ctx: RpcContext<'_>,
        req: GetAllKeyspacesRequest,
        sink: UnarySink<GetAllKeyspacesResponse>,
    ) {
        let service = self.clone();
        self.answer(&ctx, sink, async move {
            let look = |keyspaces: &Keyspaces| {
                no_namespace(req.has_namespace())?;
                no_identity(req.has_start_keyspace_identity())?;
                let page = keyspaces.page(req.get_start_id(), req.get_limit());
                Ok(page.cloned().collect::<Vec<_>>())
            };
            let mut response = GetAllKeyspacesResponse::default();
            response.set_keyspaces(service.look_up(req.get_header(), look).await?.into());
            Ok(response)
        });
    }

    fn update_keyspace_state(
        &mut self,
        ctx: RpcContext<'_>,
        req: UpdateKeyspaceStateRequest,
        sink: UnarySink<UpdateKeyspaceStateResponse>,
    ) {
        let service = self.clone();
        self.answer(&ctx, sink, async move {
            service.shared.check_header(req.get_header())?;
            let unix_seconds = service.unix_nanos() / 1_000_000_000;
            let plan = move |state: &PdState| {
                state.check_bootstrapped()?;
                no_identity(req.has_keyspace_identity())?;
                let keyspaces = state.keyspaces();
                keyspaces.plan_state(req.get_id(), req.get_state(), unix_seconds)
            };
            let mut response = UpdateKeyspaceStateResponse::default();
            response.set_keyspace(service.shared.cluster.mutate(plan).await?);
            Ok(response)
        });
    }

    fn watch_keyspaces(
        &mut self,
        ctx: RpcContext<'_>,
        req: WatchKeyspacesRequest,
        sink: ServerStreamingSink<WatchKeyspacesResponse>,
    ) {
        let watching = watch(self.clone(), req, sink);
        ctx.spawn(watching.map(drop));
    }
}

/// Keyspaces as they are, then as they change. A client that reads slowly skips what happened in
/// between, and nothing is kept for it.
async fn watch(
    service: Service,
    req: WatchKeyspacesRequest,
    mut sink: ServerStreamingSink<WatchKeyspacesResponse>,
) -> grpcio::Result<()> {
    let shared = &service.shared;
    let mut groups = shared.cluster.groups();
    let mut cursor = 0;
    let end: RpcStatus = loop {
        let look = |keyspaces: &Keyspaces| Ok(keyspaces.changed_after(cursor));
        let (changed, next) = match service.look_up(req.get_header(), look).await {
            Ok(found) => found,
            // The error stands in the header of the one and last answer, or ends the stream.
            Err(error) => match service.complete::<WatchKeyspacesResponse>(Err(error)) {
                Ok(response) => {
                    sink.send((response, WriteFlags::default())).await?;
                    return sink.close().await;
                }
                Err(status) => break status,
            },
        };
        if changed.is_empty() {
            let news = Box::pin(Cluster::next_group(&mut groups));
            match select(news, shared.stop.wait()).await {
                Either::Left((Ok(()), _)) => continue,
                Either::Left((Err(_), _)) | Either::Right(_) => break super::streams::stopped(),
            }
        }
        cursor = next;
        let mut response = WatchKeyspacesResponse::default();
        response.set_keyspaces(changed.into());
        response.set_header(shared.header());
        sink.send((response, WriteFlags::default())).await?;
    };
    sink.fail(end).await
}

/// What comes through HTTP.
impl Service {
    /// A new keyspace with this name and configuration.
    pub(crate) async fn create_keyspace(
        &self,
        name: String,
        config: Vec<(String, String)>,
    ) -> Result<KeyspaceMeta> {
        let unix_seconds = self.unix_nanos() / 1_000_000_000;
        let plan = move |state: &PdState| {
            state.check_bootstrapped()?;
            state.keyspaces().plan_create(&name, config, unix_seconds)
        };
        let created = self.shared.cluster.mutate(plan).await?;
        tracing::info!(keyspace_id = created.get_id(), "keyspace created");
        Ok(created)
    }

    /// Changes entries of a keyspace's configuration, all or none.
    pub(crate) async fn configure_keyspace(
        &self,
        name: String,
        config: Vec<ConfigChange>,
    ) -> Result<KeyspaceMeta> {
        let plan = move |state: &PdState| {
            state.check_bootstrapped()?;
            state.keyspaces().plan_config(&name, config)
        };
        self.shared.cluster.mutate(plan).await
    }

    async fn look_up<R>(
        &self,
        header: &RequestHeader,
        look: impl FnOnce(&Keyspaces) -> Result<R>,
    ) -> Result<R> {
        self.shared.check_header(header)?;
        let look = |state: &PdState| {
            state.check_bootstrapped()?;
            look(state.keyspaces())
        };
        self.shared.cluster.read_durable(look).await
    }
}

fn no_identity(named: bool) -> Result<()> {
    if named {
        let text = "keyspace identities are not supported: name the keyspace by its id";
        return Err(Error::Refused(text.to_owned()));
    }
    Ok(())
}

fn no_namespace(named: bool) -> Result<()> {
    if named {
        let text = "there are no namespaces of keyspaces";
        return Err(Error::Refused(text.to_owned()));
    }
    Ok(())
}
