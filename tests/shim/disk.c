/* Preloaded into a program (LD_PRELOAD), this stands between it and the disk, for files below
 * DISK_SHIM_ROOT:
 *
 *   DISK_SHIM_JOURNAL=FILE   Every change is appended to FILE, in the order in which it happened, over
 *                            all processes; tests/support/recording.rs reads it. fsync is recorded
 *                            and not done: the disk's own speed doesn't matter.
 *   DISK_SHIM_FAULT=OP:TEXT:FIRST:COUNT
 *                            OP (write or sync) on files whose path holds TEXT fails with EIO, from
 *                            the FIRST time on (from 1), COUNT times in each process, and says so
 *                            on standard error. OP kill: the process is killed before the FIRST
 *                            write or sync there.
 *   DISK_SHIM_SLOW_MS=N      Every sync takes N ms longer.
 *   DISK_SHIM_FULL=FILE      While FILE exists, nothing grows and nothing is created: ENOSPC.
 *
 * A -shm file is nobody's business: its content doesn't outlive the power, SQLite makes it anew.
 * What is changed in other ways (mmap, io_uring, raw system calls) is not seen; that a recording
 * missed nothing is for its reader to check. Linux with glibc only. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

/* ---- What is watched ---- */

static const char *setting(const char *name) {
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

static int is_watched(const char *path) {
    const char *root = setting("DISK_SHIM_ROOT");
    if (!root) return 0;
    size_t length = strlen(root), all = strlen(path);
    if (strncmp(path, root, length) || (path[length] && path[length] != '/')) return 0;
    return !(all > 4 && !strcmp(path + all - 4, "-shm"));
}

/* The path of a descriptor; 0 where it is not watched. */
static int path_of(int fd, char path[PATH_MAX]) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return is_watched(path);
}

/* A name as an absolute path; 0 where it is not watched. */
static int path_at(int folder, const char *name, char path[PATH_MAX]) {
    if (!setting("DISK_SHIM_ROOT")) return 0;
    if (name[0] == '/') {
        snprintf(path, PATH_MAX, "%s", name);
    } else {
        char link[64], base[PATH_MAX];
        if (folder == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
        else snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t length = readlink(link, base, PATH_MAX - 1);
        if (length <= 0) return 0;
        base[length] = 0;
        if (length + 1 + strlen(name) >= PATH_MAX) return 0;
        memcpy(path, base, length);
        path[length] = '/';
        strcpy(path + length + 1, name);
    }
    return is_watched(path);
}

/* ---- The journal ---- */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int journal = -1;
static pid_t journal_of;

struct head {
    uint32_t kind, name_bytes, other_bytes, data_bytes;
    uint64_t inode, offset;
};

/* From here to leave() nobody else changes a watched file: the order of records is that of the
 * changes. Cheap where nothing is recorded. */
static void enter(void) {
    const char *file = setting("DISK_SHIM_JOURNAL");
    pthread_mutex_lock(&mutex);
    if (!file) return;
    if (journal_of != getpid()) {
        /* A child's copy would share the lock with its parent. */
        if (journal >= 0) close(journal);
        journal = syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
        journal_of = getpid();
    }
    while (flock(journal, LOCK_EX) && errno == EINTR) {}
}

static void leave(void) {
    int saved = errno;
    if (journal >= 0) flock(journal, LOCK_UN);
    pthread_mutex_unlock(&mutex);
    errno = saved;
}

/* When the program ends, its other threads are cut off wherever they are: not between a change and
 * its record. The end of the process lets go. */
__attribute__((destructor)) static void at_exit(void) { enter(); }

static void record(char kind, uint64_t inode, uint64_t offset, const char *name, const char *other,
                   const void *data, size_t data_bytes) {
    if (!setting("DISK_SHIM_JOURNAL")) return;
    int saved = errno;
    struct head head = {(uint32_t)kind, name ? strlen(name) : 0, other ? strlen(other) : 0, data_bytes, inode, offset};
    struct iovec parts[] = {
        {&head, sizeof head}, {(void *)name, head.name_bytes}, {(void *)other, head.other_bytes}, {(void *)data, data_bytes}};
    ssize_t wanted = sizeof head + head.name_bytes + head.other_bytes + data_bytes;
    if (syscall(SYS_writev, journal, parts, 4) != wanted) {
        fprintf(stderr, "disk shim: can't record: %s\n", strerror(errno));
        _exit(99);
    }
    errno = saved;
}

static uint64_t inode_of(int fd) {
    struct stat found;
    return fstat(fd, &found) ? 0 : found.st_ino;
}

/* ---- Faults ---- */

static int is_full(void) {
    const char *flag = setting("DISK_SHIM_FULL");
    return flag && syscall(SYS_faccessat, AT_FDCWD, flag, F_OK) == 0;
}

/* Called between enter and leave. */
static int must_fail(const char *operation, const char *path) {
    static long first, count = -1, passed;
    static char wanted[16], text[256];
    if (count < 0) {
        const char *plan = setting("DISK_SHIM_FAULT");
        count = 0;
        if (plan && sscanf(plan, "%15[^:]:%255[^:]:%ld:%ld", wanted, text, &first, &count) != 4) {
            fprintf(stderr, "disk shim: DISK_SHIM_FAULT=%s is not OP:TEXT:FIRST:COUNT\n", plan);
            _exit(99);
        }
    }
    int kills = !strcmp(wanted, "kill");
    if (!count || !strstr(path, text) || (!kills && strcmp(wanted, operation))) return 0;
    passed++;
    if (passed < first || passed >= first + count) return 0;
    if (kills) kill(getpid(), SIGKILL);
    fprintf(stderr, "disk shim: %s of %s fails\n", operation, path);
    return 1;
}

static int grows(int fd, off_t end) {
    struct stat found;
    return !fstat(fd, &found) && end > found.st_size;
}

/* ---- Content ---- */

/* What every kind of write comes down to: pwrite at an offset, or write where that is -1. */
static ssize_t put(int fd, const void *bytes, size_t count, off_t offset) {
    char path[PATH_MAX];
    if (!path_of(fd, path))
        return offset < 0 ? REAL(write)(fd, bytes, count) : REAL(pwrite64)(fd, bytes, count, offset);
    enter();
    ssize_t done = -1;
    off_t at = offset;
    if (at < 0) at = fcntl(fd, F_GETFL) & O_APPEND ? lseek(fd, 0, SEEK_END) : lseek(fd, 0, SEEK_CUR);
    if (must_fail("write", path)) errno = EIO;
    else if (is_full() && grows(fd, at + count)) errno = ENOSPC;
    else done = offset < 0 ? REAL(write)(fd, bytes, count) : REAL(pwrite64)(fd, bytes, count, offset);
    if (done > 0) record('W', inode_of(fd), at, NULL, NULL, bytes, done);
    leave();
    return done;
}

ssize_t write(int fd, const void *bytes, size_t count) { return put(fd, bytes, count, -1); }
ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset) { return put(fd, bytes, count, offset); }
ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset) { return put(fd, bytes, count, offset); }

/* Only the first part: a short write, which every caller has to expect. */
static ssize_t put_first(int fd, const struct iovec *parts, int count, off_t offset) {
    for (int part = 0; part < count; part++)
        if (parts[part].iov_len) return put(fd, parts[part].iov_base, parts[part].iov_len, offset);
    return 0;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    char path[PATH_MAX];
    return path_of(fd, path) ? put_first(fd, parts, count, -1) : REAL(writev)(fd, parts, count);
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) { return put_first(fd, parts, count, offset); }
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) { return put_first(fd, parts, count, offset); }

/* Callers fall back to reading and writing. */
ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t count, unsigned flags) {
    char path[PATH_MAX];
    if (!path_of(to, path)) return REAL(copy_file_range)(from, from_at, to, to_at, count, flags);
    errno = ENOSYS;
    return -1;
}

static int resize(int fd, off_t length) {
    char path[PATH_MAX];
    if (!path_of(fd, path)) return REAL(ftruncate64)(fd, length);
    enter();
    int done = -1;
    if (must_fail("write", path)) errno = EIO;
    else if (is_full() && grows(fd, length)) errno = ENOSPC;
    else done = REAL(ftruncate64)(fd, length);
    if (!done) record('T', inode_of(fd), length, NULL, NULL, NULL, 0);
    leave();
    return done;
}

int ftruncate(int fd, off_t length) { return resize(fd, length); }
int ftruncate64(int fd, off64_t length) { return resize(fd, length); }

static int reserve(int fd, int mode, off_t offset, off_t length) {
    char path[PATH_MAX];
    if (!path_of(fd, path)) return REAL(fallocate64)(fd, mode, offset, length);
    errno = EOPNOTSUPP;
    return -1;
}

int fallocate(int fd, int mode, off_t offset, off_t length) { return reserve(fd, mode, offset, length); }
int fallocate64(int fd, int mode, off64_t offset, off64_t length) { return reserve(fd, mode, offset, length); }

static int synchronise(int fd, int (*really)(int)) {
    char path[PATH_MAX];
    struct stat found;
    if (!path_of(fd, path) || fstat(fd, &found)) return really(fd);
    const char *slow_ms = setting("DISK_SHIM_SLOW_MS");
    if (slow_ms) usleep(atol(slow_ms) * 1000);
    enter();
    int done = 0;
    if (must_fail("sync", path)) {
        errno = EIO;
        done = -1;
    } else if (S_ISDIR(found.st_mode)) {
        record('D', 0, 0, path, NULL, NULL, 0);
    } else {
        record('S', found.st_ino, 0, NULL, NULL, NULL, 0);
    }
    leave();
    return done;
}

int fsync(int fd) { return synchronise(fd, REAL(fsync)); }
int fdatasync(int fd) { return synchronise(fd, REAL(fdatasync)); }

/* ---- Names ---- */

static int open_at(int folder, const char *name, int flags, mode_t mode) {
    char path[PATH_MAX];
    int changes = flags & (O_CREAT | O_TRUNC) && (flags & O_TMPFILE) != O_TMPFILE;
    if (!changes || !path_at(folder, name, path)) return REAL(openat64)(folder, name, flags, mode);
    enter();
    struct stat before;
    int is_new = lstat(path, &before) != 0, fd = -1;
    if (is_new && is_full()) errno = ENOSPC;
    else fd = REAL(openat64)(folder, name, flags, mode);
    if (fd >= 0 && is_new) record('C', inode_of(fd), 0, path, NULL, NULL, 0);
    else if (fd >= 0 && flags & O_TRUNC) record('T', inode_of(fd), 0, NULL, NULL, NULL, 0);
    leave();
    return fd;
}

#define WITH_MODE(flags)                             \
    mode_t mode = 0;                                 \
    if ((flags) & (O_CREAT | O_TMPFILE)) {           \
        va_list rest;                                \
        va_start(rest, flags);                       \
        mode = va_arg(rest, mode_t);                 \
        va_end(rest);                                \
    }

int open(const char *name, int flags, ...) { WITH_MODE(flags) return open_at(AT_FDCWD, name, flags, mode); }
int open64(const char *name, int flags, ...) { WITH_MODE(flags) return open_at(AT_FDCWD, name, flags | O_LARGEFILE, mode); }
int openat(int folder, const char *name, int flags, ...) { WITH_MODE(flags) return open_at(folder, name, flags, mode); }
int openat64(int folder, const char *name, int flags, ...) { WITH_MODE(flags) return open_at(folder, name, flags | O_LARGEFILE, mode); }

int mkdirat(int folder, const char *name, mode_t mode) {
    char path[PATH_MAX];
    if (!path_at(folder, name, path)) return REAL(mkdirat)(folder, name, mode);
    enter();
    int done = -1;
    if (is_full()) errno = ENOSPC;
    else done = REAL(mkdirat)(folder, name, mode);
    if (!done) record('M', 0, 0, path, NULL, NULL, 0);
    leave();
    return done;
}

int mkdir(const char *name, mode_t mode) { return mkdirat(AT_FDCWD, name, mode); }

int unlinkat(int folder, const char *name, int flags) {
    char path[PATH_MAX];
    if (!path_at(folder, name, path)) return REAL(unlinkat)(folder, name, flags);
    enter();
    int done = REAL(unlinkat)(folder, name, flags);
    if (!done) record('U', 0, 0, path, NULL, NULL, 0);
    leave();
    return done;
}

int unlink(const char *name) { return unlinkat(AT_FDCWD, name, 0); }
int rmdir(const char *name) { return unlinkat(AT_FDCWD, name, AT_REMOVEDIR); }

int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags) {
    char old[PATH_MAX], new[PATH_MAX];
    int watched = path_at(from_folder, from, old);
    watched |= path_at(to_folder, to, new);
    if (!watched) return REAL(renameat2)(from_folder, from, to_folder, to, flags);
    enter();
    int done = REAL(renameat2)(from_folder, from, to_folder, to, flags);
    if (!done) record(flags & RENAME_EXCHANGE ? 'X' : 'R', 0, 0, old, new, NULL, 0);
    leave();
    return done;
}

int renameat(int from_folder, const char *from, int to_folder, const char *to) {
    return renameat2(from_folder, from, to_folder, to, 0);
}
int rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }
