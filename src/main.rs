//! temporary
use clap::Parser;
#[derive(Parser)]
enum Cli {
    Demo(redflag::cli::demo::Args),
}
fn main() {
    let Cli::Demo(args) = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    println!("{:?}", runtime.block_on(redflag::cli::demo::run(&args)));
}
