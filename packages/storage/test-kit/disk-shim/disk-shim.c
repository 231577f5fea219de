/*
 * A disk that can lose power, fail or be slow, for processes that tests start (LD_PRELOAD, Linux).
 *
 *   DISK_SHIM_FSYNC_US=n      every fsync and fdatasync takes n microseconds longer
 *   DISK_SHIM_DIR=path        files in this folder are watched:
 *   DISK_SHIM_SHADOW=path     what a power cut would leave of them: bytes come here at fsync and at no other time
 *   DISK_SHIM_LEAK=percent    … but so many of the 4 KiB pieces written come here at once, as when the system writes
 *                             back early and out of order
 *   DISK_SHIM_CUT_AT=n        the power goes (SIGKILL) at the n-th watched call; odd n before it, even n after it
 *   DISK_SHIM_FAULT=kind:n:m  watched calls n to n+m-1 fail: eio, enospc, or short (half is written, then ENOSPC)
 *                             also later, by writing "kind n m" into a file "arm" in the folder, counted from then on
 *   DISK_SHIM_TRACE=path      each watched call is appended to this file, in order: a line "kind name from length", then
 *                             the bytes of a write; for cuts at any of them, later
 *   DISK_SHIM_SEED=n          of the random numbers
 *
 * A watched call is a write, truncate or sync of a watched file. A file exists after a cut once it has been synced; a
 * removed one is gone at once.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define MAX_FD 4096
#define MAX_FILES 64
#define PIECE 4096

struct range { off_t from; off_t to; };

struct file {
  char name[256];
  struct range *dirty;
  size_t dirty_count;
  size_t dirty_room;
  off_t cut_to; /* -1: not truncated since the last sync */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct file files[MAX_FILES];
static int file_count;
static int file_of[MAX_FD]; /* index + 1; 0: not watched */
static const char *dir, *shadow;
static int trace_fd = -1;
static size_t dir_length;
static long fsync_us, leak, cut_at, fault_from, fault_count, calls;
static char fault_kind[16];
static uint64_t random_state = 88172645463325252ull;

static int (*real_open)(const char *, int, ...);
static int (*real_openat)(int, const char *, int, ...);
static int (*real_close)(int);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static ssize_t (*real_pread)(int, void *, size_t, off_t);
static int (*real_ftruncate)(int, off_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_unlink)(const char *);

static long number(const char *name) {
  const char *text = getenv(name);
  return text == NULL ? 0 : atol(text);
}

static void prepare(void) {
  if (real_fsync != NULL) return;
  real_open = dlsym(RTLD_NEXT, "open64");
  real_openat = dlsym(RTLD_NEXT, "openat64");
  real_close = dlsym(RTLD_NEXT, "close");
  real_write = dlsym(RTLD_NEXT, "write");
  real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
  real_pread = dlsym(RTLD_NEXT, "pread64");
  real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
  real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
  real_unlink = dlsym(RTLD_NEXT, "unlink");
  fsync_us = number("DISK_SHIM_FSYNC_US");
  leak = number("DISK_SHIM_LEAK");
  cut_at = number("DISK_SHIM_CUT_AT");
  random_state += (uint64_t)number("DISK_SHIM_SEED") * 0x9e3779b97f4a7c15ull;
  dir = getenv("DISK_SHIM_DIR");
  dir_length = dir == NULL ? 0 : strlen(dir);
  shadow = getenv("DISK_SHIM_SHADOW");
  real_writev = dlsym(RTLD_NEXT, "writev");
  const char *trace_path = getenv("DISK_SHIM_TRACE");
  if (trace_path != NULL) trace_fd = real_open(trace_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  const char *fault = getenv("DISK_SHIM_FAULT");
  if (fault != NULL) sscanf(fault, "%15[a-z]:%ld:%ld", fault_kind, &fault_from, &fault_count);
  real_fsync = dlsym(RTLD_NEXT, "fsync");
}

__attribute__((constructor)) static void at_start(void) { prepare(); }

static uint64_t next_random(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return random_state;
}

/* —— which files are watched —— */

static const char *name_in_dir(const char *path) {
  if (dir == NULL || strncmp(path, dir, dir_length) != 0 || path[dir_length] != '/') return NULL;
  const char *name = path + dir_length + 1;
  size_t length = strlen(name);
  /* Shared memory and locks are no data. */
  if (strchr(name, '/') != NULL || length > 200) return NULL;
  if (length > 4 && strcmp(name + length - 4, "-shm") == 0) return NULL;
  if (length > 5 && strcmp(name + length - 5, ".lock") == 0) return NULL;
  return name;
}

static void watch(int fd, const char *path) {
  if (fd < 0 || fd >= MAX_FD) return;
  const char *name = name_in_dir(path);
  if (name == NULL) return;
  pthread_mutex_lock(&lock);
  int index = 0;
  while (index < file_count && strcmp(files[index].name, name) != 0) index++;
  if (index == file_count && file_count < MAX_FILES) {
    strcpy(files[index].name, name);
    files[index].cut_to = -1;
    file_count++;
  }
  file_of[fd] = index + 1;
  pthread_mutex_unlock(&lock);
}

static struct file *watched(int fd) {
  if (fd < 0 || fd >= MAX_FD || file_of[fd] == 0) return NULL;
  return &files[file_of[fd] - 1];
}

/* —— what a power cut leaves —— */

static int open_shadow(const struct file *file, int flags) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", shadow, file->name);
  return real_open(path, flags, 0600);
}

static void copy_range(int from_fd, int to_fd, off_t from, off_t to) {
  char buffer[65536];
  while (from < to) {
    size_t want = (size_t)(to - from) < sizeof buffer ? (size_t)(to - from) : sizeof buffer;
    ssize_t got = real_pread(from_fd, buffer, want, from);
    if (got <= 0) return;
    real_pwrite(to_fd, buffer, (size_t)got, from);
    from += got;
  }
}

static void note_write(int fd, struct file *file, off_t from, size_t length) {
  if (shadow == NULL || length == 0) return;
  if (file->dirty_count == file->dirty_room) {
    file->dirty_room = file->dirty_room == 0 ? 64 : file->dirty_room * 2;
    file->dirty = realloc(file->dirty, file->dirty_room * sizeof(struct range));
    if (file->dirty == NULL) abort();
  }
  file->dirty[file->dirty_count++] = (struct range){from, from + (off_t)length};
  if (leak == 0) return;
  int to_fd = open_shadow(file, O_WRONLY); /* only of a file that exists there: its creation was synced */
  if (to_fd < 0) return;
  for (off_t at = from; at < from + (off_t)length; at += PIECE) {
    off_t end = at + PIECE < from + (off_t)length ? at + PIECE : from + (off_t)length;
    if ((long)(next_random() % 100) < leak) copy_range(fd, to_fd, at, end);
  }
  real_close(to_fd);
}

static void note_sync(int fd, struct file *file) {
  if (shadow == NULL) return;
  int to_fd = open_shadow(file, O_WRONLY | O_CREAT);
  if (to_fd < 0) abort();
  if (file->cut_to >= 0) real_ftruncate(to_fd, file->cut_to);
  file->cut_to = -1;
  for (size_t index = 0; index < file->dirty_count; index++)
    copy_range(fd, to_fd, file->dirty[index].from, file->dirty[index].to);
  file->dirty_count = 0;
  struct stat now;
  if (fstat(fd, &now) == 0) real_ftruncate(to_fd, now.st_size);
  real_close(to_fd);
}

/* —— the trace —— */

/* One call, so that a process that is killed leaves a whole record or none. */
static void trace(const char *kind, const char *name, off_t from, size_t length, const void *bytes) {
  if (trace_fd < 0) return;
  char line[320];
  int line_length = snprintf(line, sizeof line, "%s %s %lld %zu\n", kind, name, (long long)from, length);
  struct iovec parts[2] = {{line, (size_t)line_length}, {(void *)bytes, bytes == NULL ? 0 : length}};
  if (real_writev(trace_fd, parts, bytes == NULL ? 1 : 2) < 0) abort();
}

/* —— faults —— */

enum { GO_ON, SHORT, FAIL };

static long begin_call(void) {
  long n = ++calls;
  if (n == cut_at && n % 2 == 1) kill(getpid(), SIGKILL);
  return n;
}

static void end_call(long n) {
  if (n == cut_at) kill(getpid(), SIGKILL);
}

static int fault_at(long n) {
  if (fault_count == 0 || n < fault_from || n >= fault_from + fault_count) return GO_ON;
  if (strcmp(fault_kind, "short") == 0 && n == fault_from) return SHORT;
  errno = strcmp(fault_kind, "eio") == 0 ? EIO : ENOSPC;
  return FAIL;
}

/* Orders to this disk, which are no data of it. */
static ssize_t arm(const void *bytes, size_t length) {
  char order[64] = {0};
  memcpy(order, bytes, length < sizeof order ? length : sizeof order - 1);
  pthread_mutex_lock(&lock);
  fault_count = 0;
  sscanf(order, "%15[a-z] %ld %ld", fault_kind, &fault_from, &fault_count);
  calls = 0;
  pthread_mutex_unlock(&lock);
  return (ssize_t)length;
}

static ssize_t watched_pwrite(int fd, struct file *file, const void *bytes, size_t length, off_t at) {
  if (strcmp(file->name, "arm") == 0) return arm(bytes, length);
  pthread_mutex_lock(&lock);
  long n = begin_call();
  int fault = fault_at(n);
  ssize_t written = -1;
  if (fault != FAIL) {
    written = real_pwrite(fd, bytes, fault == SHORT && length > 1 ? length / 2 : length, at);
    if (written > 0) note_write(fd, file, at, (size_t)written);
    if (written > 0) trace("write", file->name, at, (size_t)written, bytes);
  }
  end_call(n);
  pthread_mutex_unlock(&lock);
  return written;
}

static int watched_ftruncate(int fd, struct file *file, off_t length) {
  pthread_mutex_lock(&lock);
  long n = begin_call();
  int result = fault_at(n) == GO_ON ? real_ftruncate(fd, length) : -1;
  if (result == 0 && (file->cut_to < 0 || length < file->cut_to)) file->cut_to = length;
  if (result == 0) trace("truncate", file->name, length, 0, NULL);
  end_call(n);
  pthread_mutex_unlock(&lock);
  return result;
}

static int sync_file(int fd, int (*real)(int)) {
  if (fsync_us > 0) {
    struct timespec pause = {fsync_us / 1000000, (fsync_us % 1000000) * 1000};
    nanosleep(&pause, NULL);
  }
  struct file *file = watched(fd);
  if (file == NULL) return real(fd);
  pthread_mutex_lock(&lock);
  long n = begin_call();
  int result = fault_at(n) == GO_ON ? real(fd) : -1;
  if (result == 0) note_sync(fd, file);
  if (result == 0) trace("sync", file->name, 0, 0, NULL);
  end_call(n);
  pthread_mutex_unlock(&lock);
  return result;
}

/* —— the calls of libc —— */

#define MODE_OF(flags)                                    \
  mode_t mode = 0;                                        \
  if ((flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE) { \
    va_list rest;                                         \
    va_start(rest, flags);                                \
    mode = va_arg(rest, mode_t);                          \
    va_end(rest);                                         \
  }

int open(const char *path, int flags, ...) {
  prepare();
  MODE_OF(flags)
  int fd = real_open(path, flags, mode);
  watch(fd, path);
  return fd;
}

int open64(const char *path, int flags, ...) {
  prepare();
  MODE_OF(flags)
  int fd = real_open(path, flags, mode);
  watch(fd, path);
  return fd;
}

int openat(int folder, const char *path, int flags, ...) {
  prepare();
  MODE_OF(flags)
  int fd = real_openat(folder, path, flags, mode);
  watch(fd, path);
  return fd;
}

int openat64(int folder, const char *path, int flags, ...) {
  prepare();
  MODE_OF(flags)
  int fd = real_openat(folder, path, flags, mode);
  watch(fd, path);
  return fd;
}

int close(int fd) {
  prepare();
  if (fd >= 0 && fd < MAX_FD) file_of[fd] = 0;
  return real_close(fd);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) {
  prepare();
  struct file *file = watched(fd);
  return file == NULL ? real_pwrite(fd, bytes, length, at) : watched_pwrite(fd, file, bytes, length, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at) { return pwrite(fd, bytes, length, at); }

ssize_t write(int fd, const void *bytes, size_t length) {
  prepare();
  struct file *file = watched(fd);
  if (file == NULL) return real_write(fd, bytes, length);
  off_t at = lseek(fd, 0, SEEK_CUR);
  ssize_t written = watched_pwrite(fd, file, bytes, length, at);
  if (written > 0) lseek(fd, at + written, SEEK_SET);
  return written;
}

int ftruncate(int fd, off_t length) {
  prepare();
  struct file *file = watched(fd);
  return file == NULL ? real_ftruncate(fd, length) : watched_ftruncate(fd, file, length);
}

int ftruncate64(int fd, off64_t length) { return ftruncate(fd, length); }

int fsync(int fd) {
  prepare();
  return sync_file(fd, real_fsync);
}

int fdatasync(int fd) {
  prepare();
  return sync_file(fd, real_fdatasync);
}

int unlink(const char *path) {
  prepare();
  const char *name = name_in_dir(path);
  if (name != NULL && shadow != NULL) {
    char other[4096];
    snprintf(other, sizeof other, "%s/%s", shadow, name);
    real_unlink(other);
  }
  int result = real_unlink(path);
  if (name != NULL && result == 0) {
    pthread_mutex_lock(&lock);
    trace("unlink", name, 0, 0, NULL);
    pthread_mutex_unlock(&lock);
  }
  return result;
}
