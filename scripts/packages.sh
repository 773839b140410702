# Sourced by scripts/hosts and scripts/matrix: how the programs that the tests need are installed.
#
# Debian packages only where we are root and apt-get exists; everything else into target/hosts, so
# that nothing of the machine's own Python or Node is changed.

# install_packages PACKAGE...: installs them, or says that a person has to.
install_packages() {
    if [ "$EUID" = 0 ] && command -v apt-get >/dev/null; then
        local wait=(-o DPkg::Lock::Timeout=600)
        apt-get "${wait[@]}" update -q &&
            DEBIAN_FRONTEND=noninteractive apt-get "${wait[@]}" install -q -y --no-install-recommends "$@"
    else
        echo "$(basename "$0"): this machine lacks $*; as root: apt-get install $*"
        exit 1
    fi
}

# find_python: prints a python3 whose sqlite3 module can load extensions.
find_python() {
    local candidate
    for candidate in /usr/bin/python3 python3; do
        if "$candidate" -c 'import sqlite3; sqlite3.connect(":memory:").enable_load_extension(True)' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

# find_pip PYTHON: any interpreter's pip will do: it is told for which Python it fetches.
find_pip() {
    local candidate
    for candidate in "$1" /usr/bin/python3 python3; do
        if "$candidate" -m pip --version >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

# has_apsw PYTHON FOLDER
has_apsw() {
    PYTHONPATH=$2 "$1" -c 'import apsw; apsw.Connection(":memory:")' 2>/dev/null
}

# fetch_apsw PYTHON FOLDER REQUIREMENT: apsw for that Python in that folder, unless it is there.
fetch_apsw() {
    local python=$1 folder=$2 requirement=$3 pip version fresh
    has_apsw "$python" "$folder" && return
    pip=$(find_pip "$python") || {
        install_packages python3-pip
        pip=$(find_pip "$python")
    }
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    mkdir -p "$(dirname "$folder")"
    # Whole or not at all, also when two test runs come here at once.
    fresh=$(mktemp -d "$folder.XXXXXX")
    if ! "$pip" -m pip install --quiet --disable-pip-version-check --root-user-action ignore \
        --target "$fresh" --only-binary :all: --python-version "$version" "$requirement"; then
        rm -rf "$fresh"
        echo "$(basename "$0"): pip could not install $requirement for Python $version (the reason stands above)"
        exit 1
    fi
    if has_apsw "$python" "$folder"; then
        rm -rf "$fresh" # another run was faster
    else
        rm -rf "$folder"
        mv "$fresh" "$folder"
    fi
    has_apsw "$python" "$folder" || {
        echo "$(basename "$0"): $requirement was installed to $folder, but $python cannot import it"
        exit 1
    }
}
