#!/usr/bin/env bash
# The gates of deny.toml: licences, bans and sources always; advisories whenever their database can be had. Without a network the
# gate stays open and says so.
set -euo pipefail
cd "$(dirname "$0")/../.."

version=0.20.2
deny=target/tools/bin/cargo-deny
if [ "$("$deny" --version 2>/dev/null)" != "cargo-deny $version" ]; then
    if [ "$(cargo deny --version 2>/dev/null)" = "cargo-deny $version" ]; then
        deny=$(command -v cargo-deny)
    else
        echo "deny: building cargo-deny $version, once"
        # In a folder that stays until it is done: a build that broke off goes on.
        cargo install --quiet --locked cargo-deny --version "$version" --root target/tools --target-dir target/tools/build
        rm -rf target/tools/build
    fi
fi

# Several versions of a crate are a warning that nobody acts on daily: `cargo deny check bans` lists them.
"$deny" --locked check --allow duplicate --hide-inclusion-graph licenses bans sources

report=$(mktemp)
trap 'rm -f "$report"' EXIT
if timeout "${REDFLAG_ADVISORIES_PATIENCE:-60}" "$deny" --locked fetch db >"$report" 2>&1; then
    "$deny" --locked --offline check --hide-inclusion-graph advisories
else
    tail -n 3 "$report" >&2
    cat >&2 <<'TEXT'
+--------------------------------------------------------------------------+
|  ADVISORIES WERE NOT CHECKED: their database could not be fetched.       |
|  Known vulnerabilities in dependencies would go unseen in this run.      |
|  Run `make deny` where there is a network.                               |
+--------------------------------------------------------------------------+
TEXT
fi
