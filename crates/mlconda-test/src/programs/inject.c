/* Lets the file system fail a program, or ends it, at its N-th system call below a directory.
 *
 *   inject DIRECTORY GROUP MODE NUMBER ERROR REPORT PROGRAM ARGUMENT...
 *
 * GROUP   which calls count: `change` (those that change the file system), `open` (opening for reading), `rename`,
 *         `read` (reading of files), `sync` (waits for the disk)
 * MODE    what happens at call NUMBER: `once` it fails with ERROR; `from` it and all calls after it that need room
 *         fail with ERROR; `full`: of it and all calls after it, those that need room do; `kill`: the program is
 *         killed; `signal`: it gets the signal ERROR, and the call goes on when a byte comes through the FIFO
 *         REPORT.go; `twice`: it gets the signal again at that byte, and the call never goes on; `undo:MORE`: as
 *         `signal`, and so many calls after it the program is killed; `swap:PATH:TO`: before the call goes on, the
 *         directory PATH is renamed to PATH.aside, and a link to TO takes its place; 0 as the number only counts
 * REPORT  a file that gets a line of the count, and one of the call at which it happened
 *
 * The calls come to this process by a filter of the kernel (SECCOMP_RET_USER_NOTIF), so it matters neither how the
 * program makes them nor in which thread. Only those of the program itself count, not those of the programs that it starts.
 * Exit code 77: the kernel does not allow this. Else the program's exit code, or 128 and its signal. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

/* Where a call has its path: an argument that is a directory's number (or none) and one that is a name (or none). */
struct call { int number; const char *name; int directory; int path; int flags; int needs_room; };
#define NONE -1
static const struct call calls[] = {
    {SYS_write, "write", 0, NONE, NONE, 1}, {SYS_pwrite64, "pwrite64", 0, NONE, NONE, 1},
    {SYS_writev, "writev", 0, NONE, NONE, 1}, {SYS_ftruncate, "ftruncate", 0, NONE, NONE, 1},
    {SYS_fallocate, "fallocate", 0, NONE, NONE, 1}, {SYS_copy_file_range, "copy_file_range", 2, NONE, NONE, 1},
    {SYS_sendfile, "sendfile", 0, NONE, NONE, 1},
    {SYS_openat, "openat", 0, 1, 2, 1}, {SYS_mkdirat, "mkdirat", 0, 1, NONE, 1},
    {SYS_linkat, "linkat", 2, 3, NONE, 1}, {SYS_symlinkat, "symlinkat", 1, 2, NONE, 1},
    {SYS_renameat, "renameat", 2, 3, NONE, 0}, {SYS_renameat2, "renameat2", 2, 3, NONE, 0},
    {SYS_unlinkat, "unlinkat", 0, 1, NONE, 0},
    {SYS_fchmod, "fchmod", 0, NONE, NONE, 0}, {SYS_fchmodat, "fchmodat", 0, 1, NONE, 0},
    {SYS_fchown, "fchown", 0, NONE, NONE, 0}, {SYS_fchownat, "fchownat", 0, 1, NONE, 0},
    {SYS_utimensat, "utimensat", 0, 1, NONE, 0}, {SYS_flock, "flock", 0, NONE, NONE, 0},
    {SYS_fsync, "fsync", 0, NONE, NONE, 1}, {SYS_syncfs, "syncfs", 0, NONE, NONE, 0},
    {SYS_fdatasync, "fdatasync", 0, NONE, NONE, 0}, {SYS_sync_file_range, "sync_file_range", 0, NONE, NONE, 0},
    {SYS_getdents64, "getdents64", 0, NONE, NONE, 0},
#ifdef SYS_open
    {SYS_open, "open", NONE, 0, 1, 1}, {SYS_creat, "creat", NONE, 0, NONE, 1}, {SYS_mkdir, "mkdir", NONE, 0, NONE, 1},
    {SYS_link, "link", NONE, 1, NONE, 1}, {SYS_symlink, "symlink", NONE, 1, NONE, 1},
    {SYS_rename, "rename", NONE, 1, NONE, 0}, {SYS_unlink, "unlink", NONE, 0, NONE, 0},
    {SYS_rmdir, "rmdir", NONE, 0, NONE, 0}, {SYS_chmod, "chmod", NONE, 0, NONE, 0},
    {SYS_chown, "chown", NONE, 0, NONE, 0}, {SYS_lchown, "lchown", NONE, 0, NONE, 0},
#endif
    {SYS_read, "read", 0, NONE, NONE, 0}, {SYS_pread64, "pread64", 0, NONE, NONE, 0}, {SYS_readv, "readv", 0, NONE, NONE, 0},
};
enum { CALLS = sizeof calls / sizeof *calls };

static int is_read(const struct call *call) {
    return call->number == SYS_read || call->number == SYS_pread64 || call->number == SYS_readv;
}

static int filter(const char *group) {
    struct sock_filter program[2 * CALLS + 2];
    int length = 0;
    program[length++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (int i = 0; i < CALLS; i++) {
        /* There are many of them: they come here only where they count. */
        if (is_read(&calls[i]) && strcmp(group, "read") != 0) continue;
        program[length++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)calls[i].number, 0, 1);
        program[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
    }
    program[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog all = {.len = (unsigned short)length, .filter = program};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return -1;
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &all);
}

/* What a number of the program's table of open files is. */
static void named(pid_t thread, long long number, char *path) {
    char link[64];
    if ((int)number == AT_FDCWD) snprintf(link, sizeof link, "/proc/%d/cwd", thread);
    else snprintf(link, sizeof link, "/proc/%d/fd/%d", thread, (int)number);
    ssize_t length = readlink(link, path, PATH_MAX);
    path[length < 0 ? 0 : length] = 0;
}

static void path_of(const struct call *call, const struct seccomp_notif *notice, char *path) {
    char name[PATH_MAX + 1] = "";
    path[0] = 0;
    if (call->path != NONE && notice->data.args[call->path]) {
        for (size_t at = 0; at < PATH_MAX; at++) {
            struct iovec here = {name + at, 1}, there = {(char *)notice->data.args[call->path] + at, 1};
            if (process_vm_readv((pid_t)notice->pid, &here, 1, &there, 1, 0) != 1) { name[at] = 0; break; }
            if (!name[at]) break;
        }
    }
    if (name[0] != '/') {
        named((pid_t)notice->pid, call->directory == NONE ? AT_FDCWD : (long long)notice->data.args[call->directory], path);
        if (name[0]) strcat(path, "/");
    }
    strncat(path, name, PATH_MAX);
}

/* Renames a directory, and puts a link in its place. */
static void swap(const char *mode) {
    static char place[PATH_MAX], aside[PATH_MAX + 8];
    const char *to = strchr(mode, ':');
    if (!to) return;
    snprintf(place, sizeof place, "%.*s", (int)(to - mode), mode);
    snprintf(aside, sizeof aside, "%s.aside", place);
    if (rename(place, aside) == 0 && symlink(to + 1, place)) perror("symlink");
}

static int counts(const struct call *call, const struct seccomp_notif *notice, const char *group) {
    if (strcmp(group, "read") == 0) return is_read(call);
    if (strcmp(group, "rename") == 0) return strncmp(call->name, "rename", 6) == 0;
    if (strcmp(group, "sync") == 0) return strstr(call->name, "sync") != 0;
    int is_change = call->number != SYS_getdents64;
    if (call->flags != NONE) is_change = (notice->data.args[call->flags] & (O_ACCMODE | O_CREAT)) != 0;
    return is_change == (strcmp(group, "change") == 0);
}

int main(int argc, char **argv) {
    if (argc < 8) return 2;
    const char *directory = argv[1], *group = argv[2], *mode = argv[3];
    long number = atol(argv[4]), count = 0;
    int error = atoi(argv[5]);
    FILE *report = fopen(argv[6], "w");
    volatile int *listener = mmap(0, sizeof *listener, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (!report || listener == MAP_FAILED) return 2;
    fcntl(fileno(report), F_SETFD, FD_CLOEXEC);
    int ready[2];
    if (pipe2(ready, O_CLOEXEC)) return 2;
    /* The table of open files is the same for both until the program is executed: so its end of the filter gets here. */
    pid_t child = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
    if (child == 0) {
        *listener = filter(group);
        if (*listener >= 0) execv(argv[7], argv + 7);
        _exit(*listener < 0 ? 77 : 127);
    }
    if (child < 0) return 2;
    int state = 0, ended = 0;
    while (!*listener && !ended) ended = waitpid(child, &state, WNOHANG) == child;
    struct seccomp_notif *notice = calloc(1, 4096);
    struct seccomp_notif_resp *answer = calloc(1, 4096);
    static char path[2 * PATH_MAX + 2];
    size_t length = strlen(directory);
    int go = -1, held_by = 0;
    __u64 held = 0;
    long more = strncmp(mode, "undo:", 5) == 0 ? atol(mode + 5) : 0;
    int is_full = strcmp(mode, "full") == 0, is_told = 0;
    int is_twice = strcmp(mode, "twice") == 0, signals = strcmp(mode, "signal") == 0 || is_twice || more;
    if (signals) {
        snprintf(path, sizeof path, "%s.go", argv[6]);
        go = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    }
    while (!ended && *listener >= 0) {
        struct pollfd wait_for[2] = {{.fd = *listener, .events = POLLIN}, {.fd = go, .events = POLLIN}};
        int found = poll(wait_for, 2, 100);
        if (found == 0) { ended = waitpid(child, &state, WNOHANG) == child; continue; }
        if (found < 0) break;
        if (wait_for[1].revents & POLLIN) {
            close(go);
            go = -1;
            if (is_twice) kill(child, error);
            else if (held) {
                *answer = (struct seccomp_notif_resp){.id = held, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
                ioctl(*listener, SECCOMP_IOCTL_NOTIF_SEND, answer);
                held_by = 0;
            }
            continue;
        }
        if (!(wait_for[0].revents & POLLIN)) { if (wait_for[0].revents) break; continue; }
        memset(notice, 0, sizeof *notice);
        if (ioctl(*listener, SECCOMP_IOCTL_NOTIF_RECV, notice)) { if (errno == ENOENT || errno == EINTR) continue; break; }
        /* The signal has interrupted the call that is held; it comes again. */
        if (held_by && (int)notice->pid == held_by) { held = notice->id; continue; }
        const struct call *call = calls;
        while (call->number != notice->data.nr) call++;
        *answer = (struct seccomp_notif_resp){.id = notice->id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
        char own[64];
        snprintf(own, sizeof own, "/proc/%d/task/%d", child, notice->pid);
        if (counts(call, notice, group) && access(own, F_OK) == 0) {
            path_of(call, notice, path);
            if (strncmp(path, directory, length) == 0 && (path[length] == '/' || !path[length])) {
                count++;
                int is_late = number && count > number && call->needs_room;
                int now = count == number || (strcmp(mode, "from") == 0 && is_late);
                if (is_full) now = is_late || (count == number && call->needs_room);
                if (now && !is_told) fprintf(report, "%s %s\n", call->name, path);
                is_told |= now;
                if (more && count == number + more) kill(child, SIGKILL);
                if (now && strcmp(mode, "kill") == 0) kill(child, SIGKILL);
                else if (now && strncmp(mode, "swap:", 5) == 0) swap(mode + 5);
                else if (now && signals) {
                    fflush(report);
                    held = notice->id;
                    held_by = (int)notice->pid;
                    kill(child, error);
                    continue;
                }
                else if (now) { answer->flags = 0; answer->error = -error; }
            }
        }
        ioctl(*listener, SECCOMP_IOCTL_NOTIF_SEND, answer);
    }
    if (!ended) waitpid(child, &state, 0);
    fprintf(report, "%ld\n", count);
    fclose(report);
    return WIFSIGNALED(state) ? 128 + WTERMSIG(state) : WEXITSTATUS(state);
}
