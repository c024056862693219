//! What every test of a call says again and again.

/// The response, which must have a header without error.
macro_rules! granted {
    ($world:expr, $response:expr) => {{
        let response = $response.unwrap();
        assert!(!response.get_header().has_error(), "{response:?}");
        assert_eq!(response.get_header().get_cluster_id(), $world.cluster_id);
        response
    }};
}

/// The error of a response's header.
macro_rules! refused {
    ($response:expr) => {{
        let response = $response.unwrap();
        let error = response.get_header().get_error().clone();
        (error.get_field_type(), error.get_message().to_owned())
    }};
}

/// A request with this header and these fields.
macro_rules! request {
    ($world:expr, $kind:ty $(, $setter:ident($value:expr))* $(,)?) => {{
        let mut request = <$kind>::default();
        request.set_header($world.header());
        $(request.$setter($value);)*
        request
    }};
}
