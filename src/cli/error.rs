//! `redflag error`: the page of an error code, as it lies in docs/errors.

use clap::Args;
use rust_embed::RustEmbed;
use serde_json::json;

use super::{Exit, Global, print, talk};
use crate::config::shape::nearest;

#[derive(RustEmbed)]
#[folder = "docs/errors"]
#[include = "*.md"]
struct Pages;

#[derive(Args, Debug)]
pub struct ErrorArgs {
    /// As it stands in brackets, such as R001; left out: the list of all
    #[arg(value_name = "CODE")]
    code: Option<String>,
}

/// # Errors
/// stdout can't be written.
pub fn run(args: &ErrorArgs, global: &Global) -> anyhow::Result<Exit> {
    let mut codes: Vec<String> = Pages::iter().filter_map(|file| Some(file.strip_suffix(".md")?.to_owned())).collect();
    codes.sort();
    let Some(code) = &args.code else {
        if global.is_json() {
            let titles: Vec<_> = codes.iter().map(|code| json!({ "code": code, "title": title(code) })).collect();
            print(&format!("{}\n", serde_json::to_string(&titles)?))?;
        } else {
            let titles: Vec<String> = codes.iter().map(|code| title(code)).collect();
            print(&format!("{}\n", titles.join("\n")))?;
        }
        return Ok(Exit::Fine);
    };
    let wanted = code.trim_start_matches("error").trim_matches(['[', ']']).to_uppercase();
    let Some(page) = page(&wanted) else {
        let help = match nearest(&wanted, codes.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`? "),
            None => String::new(),
        };
        talk(&format!("redflag: there is no error code `{code}`; {help}`redflag error` lists all"));
        return Ok(Exit::Usage);
    };
    if global.is_json() {
        print(&format!("{}\n", json!({ "code": wanted, "page": page })))?;
    } else {
        print(&page)?;
    }
    Ok(Exit::Fine)
}

fn page(code: &str) -> Option<String> {
    let file = Pages::get(&format!("{code}.md"))?;
    Some(String::from_utf8_lossy(&file.data).into_owned())
}

/// The page's first line.
fn title(code: &str) -> String {
    let page = page(code).unwrap_or_default();
    page.lines().next().unwrap_or_default().trim_start_matches("# ").to_owned()
}
