# Sourced by the other scripts: `need PROGRAM...` stops with the command that installs what is
# missing. It is the one place that knows which Debian package has which program.

need() {
    local missing=() program
    for program in "$@"; do
        command -v "$program" >/dev/null 2>&1 || missing+=("$program")
    done
    [ ${#missing[@]} -eq 0 ] && return
    echo "$(basename "$0"): this machine lacks: ${missing[*]}" >&2
    for program in "${missing[@]}"; do
        case $program in
        cargo) echo "  cargo: Rust 1.88 or newer; see https://rustup.rs (Debian's own package may be older)" >&2 ;;
        cc) echo "  cc: apt-get install gcc libc6-dev" >&2 ;;
        nm | readelf) echo "  $program: apt-get install binutils" >&2 ;;
        sha256sum) echo "  sha256sum: apt-get install coreutils" >&2 ;;
        cargo-fmt) echo "  cargo-fmt: rustup component add rustfmt" >&2 ;;
        cargo-clippy) echo "  cargo-clippy: rustup component add clippy" >&2 ;;
        *) echo "  $program: apt-get install $program" >&2 ;;
        esac
    done
    exit 1
}
