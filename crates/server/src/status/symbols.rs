//! `/debug/pprof/symbol`: names of addresses, for tools that read profiles without symbols.

use std::fmt::Write as _;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::{Node, body, refusal};

/// `GET`: that there are symbols here.
pub(super) async fn count() -> &'static str {
    "num_symbols: 1\n"
}

/// `POST`: addresses in hexadecimal with `+` between them; a line with address and name for each.
pub(super) async fn resolve(State(shared): Node, request: Request) -> Response {
    let bytes = match body(&shared, request).await {
        Ok(bytes) => bytes,
        Err(refusal) => return refusal,
    };
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    let lookup = shared
        .runtime
        .spawner
        .spawn_dedicated("symbols", async move { names(&text) });
    match lookup.await {
        Ok(Ok(lines)) => lines.into_response(),
        Ok(Err(error)) => refusal(StatusCode::BAD_REQUEST, error),
        Err(error) => refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

/// Slow: the first call reads the symbols of the program.
fn names(text: &str) -> Result<String, String> {
    let mut lines = String::new();
    for one in text.split('+').filter(|one| !one.is_empty()) {
        let digits = one.strip_prefix("0x").unwrap_or(one);
        let address = usize::from_str_radix(digits, 16)
            .map_err(|_| format!("{one:?} is no address in hexadecimal"))?;
        let mut names = Vec::new();
        backtrace::resolve(address as *mut std::ffi::c_void, |symbol| {
            names.extend(symbol.name().map(|name| name.to_string()));
        });
        // Inlined functions come first.
        let name = if names.is_empty() {
            "??".to_owned()
        } else {
            names.join("--")
        };
        // Writing to a String cannot fail.
        let _ = writeln!(lines, "{one}\t{name}");
    }
    backtrace::clear_symbol_cache();
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_names() {
        // A stack holds return addresses: the name is that of the instruction before.
        let address = names as *const () as usize + 4;
        let lines = names(&format!("0x{address:x}+0x1")).unwrap();
        let lines: Vec<_> = lines.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].contains("names"), "{lines:?}");
        assert_eq!(lines[1], "0x1\t??");
        assert!(names("0xzz").unwrap_err().contains("0xzz"));
    }
}
