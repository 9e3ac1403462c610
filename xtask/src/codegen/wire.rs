//! The gRPC messages, clients and servers of etcd and CRI; only built with the feature `wire`, for it needs protoc.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The services of etcd, relative to the folder of etcd-client's schemas.
const ETCD: [&str; 3] =
    ["etcd/api/authpb/auth.proto", "etcd/api/etcdserverpb/rpc.proto", "etcd/api/mvccpb/kv.proto"];

/// The message that must not be printed; `proto::cri` says how it is shown.
const SECRET: &str = "runtime.v1.AuthConfig";

/// Packages protoc gives and the files of `proto` they become.
const FILES: [(&str, &str); 4] = [
    ("etcdserverpb.rs", "proto/src/etcd/etcdserverpb.rs"),
    ("mvccpb.rs", "proto/src/etcd/mvccpb.rs"),
    ("authpb.rs", "proto/src/etcd/authpb.rs"),
    ("runtime.v1.rs", "proto/src/cri/v1.rs"),
];

/// Rewrites the generated messages under `repo`: `etcd` is the folder `proto` of the crate etcd-client, `cri` the
/// `api.proto` of cri-api.
pub(crate) fn run(etcd: &Path, cri: &Path, repo: &Path) -> Result<()> {
    let out = repo.join("target/codegen");
    fs::create_dir_all(&out).with_context(|| format!("could not make {}", out.display()))?;
    let sources: Vec<_> = ETCD.iter().map(|name| etcd.join(name)).collect();
    compile(&sources, etcd, &out)?;
    compile(&[readable(cri, &out)?], &out, &out)?;
    for (from, to) in FILES {
        let text = fs::read_to_string(out.join(from)).with_context(|| format!("protoc gave no {from}"))?;
        // Names and numbers carry over from the schemas, their sentences do not.
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let body = lines.fold(String::new(), |body, line| body + line + "\n");
        let package = from.trim_end_matches(".rs");
        let header = format!(
            "//! The messages, clients and servers of `{package}`. Written by `cargo xtask codegen-wire`; do not edit.\n"
        );
        super::write(&repo.join(to), &(header + &body))?;
    }
    Ok(())
}

/// A copy of the CRI schema without the option that protoc 3 does not know; `SECRET` stands in for it.
fn readable(cri: &Path, out: &Path) -> Result<PathBuf> {
    let text = fs::read_to_string(cri).with_context(|| format!("could not read {}", cri.display()))?;
    let copy = out.join("api.proto");
    super::write(&copy, &text.replace("[debug_redact = true]", ""))?;
    Ok(copy)
}

fn compile(sources: &[PathBuf], root: &Path, out: &Path) -> Result<()> {
    tonic_prost_build::configure()
        .out_dir(out)
        .bytes(".")
        .btree_map(".")
        .skip_debug([SECRET])
        .generate_default_stubs(true)
        .emit_rerun_if_changed(false)
        .compile_protos(sources, &[root.to_owned()])
        .with_context(|| format!("protoc refused the schemas under {}", root.display()))
}
