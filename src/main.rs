//! The binary: parse, run, exit code.

fn main() -> std::process::ExitCode {
    watchkeeper::cli::main()
}
