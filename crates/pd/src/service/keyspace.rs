//! The calls of `keyspacepb.Keyspace` that clients of API V2 begin with. Creating keyspaces and
//! changing their state answer `UNIMPLEMENTED`, as does the namespace service.

use grpcio::{RpcContext, UnarySink};
use kvproto::keyspacepb::{
    GetAllKeyspacesRequest, GetAllKeyspacesResponse, Keyspace, LoadKeyspaceByIDRequest,
    LoadKeyspaceRequest, LoadKeyspaceResponse, LookupKeyspaceRequest, LookupKeyspaceResponse,
};
use kvproto::pdpb::RequestHeader;

use super::Service;
use crate::Result;
use crate::keyspaces::Keyspaces;

impl Keyspace for Service {
    fn load_keyspace(
        &mut self,
        ctx: RpcContext<'_>,
        req: LoadKeyspaceRequest,
        sink: UnarySink<LoadKeyspaceResponse>,
    ) {
        let result = self.look_up(req.get_header(), |keyspaces| {
            let mut response = LoadKeyspaceResponse::default();
            response.set_keyspace(keyspaces.by_name(req.get_name())?.clone());
            Ok(response)
        });
        self.answer(&ctx, sink, async move { result });
    }

    fn lookup_keyspace(
        &mut self,
        ctx: RpcContext<'_>,
        req: LookupKeyspaceRequest,
        sink: UnarySink<LookupKeyspaceResponse>,
    ) {
        let result = self.look_up(req.get_header(), |keyspaces| {
            let mut response = LookupKeyspaceResponse::default();
            let keyspace = keyspaces.by_name(req.get_name())?;
            response.mut_keyspaces().push(keyspace.clone());
            Ok(response)
        });
        self.answer(&ctx, sink, async move { result });
    }

    fn load_keyspace_by_id(
        &mut self,
        ctx: RpcContext<'_>,
        req: LoadKeyspaceByIDRequest,
        sink: UnarySink<LoadKeyspaceResponse>,
    ) {
        let result = self.look_up(req.get_header(), |keyspaces| {
            let mut response = LoadKeyspaceResponse::default();
            response.set_keyspace(keyspaces.by_id(req.get_id())?.clone());
            Ok(response)
        });
        self.answer(&ctx, sink, async move { result });
    }

    fn get_all_keyspaces(
        &mut self,
        ctx: RpcContext<'_>,
        req: GetAllKeyspacesRequest,
        sink: UnarySink<GetAllKeyspacesResponse>,
    ) {
        let result = self.look_up(req.get_header(), |keyspaces| {
            let mut response = GetAllKeyspacesResponse::default();
            let page = keyspaces.page(req.get_start_id(), req.get_limit());
            response.set_keyspaces(page.cloned().collect());
            Ok(response)
        });
        self.answer(&ctx, sink, async move { result });
    }
}

impl Service {
    fn look_up<R>(
        &self,
        header: &RequestHeader,
        look: impl FnOnce(&Keyspaces) -> Result<R>,
    ) -> Result<R> {
        self.shared.check_header(header)?;
        let cluster = &self.shared.cluster;
        cluster.read_bootstrapped(|state| look(state.keyspaces()))
    }
}
