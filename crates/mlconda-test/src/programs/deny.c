/* Runs a program without some system calls, as an older kernel or a strict filter does.
 *
 *   deny ERROR CALL,CALL... PROGRAM ARGUMENT...
 *
 * Each of the calls fails with ERROR, whoever makes it. Exit code 77: the kernel does not allow this; 2: a call is unknown. */

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static const struct { const char *name; int number; } calls[] = {
    {"clone3", SYS_clone3}, {"close_range", SYS_close_range}, {"copy_file_range", SYS_copy_file_range},
    {"execveat", SYS_execveat}, {"faccessat2", SYS_faccessat2}, {"fallocate", SYS_fallocate}, {"flock", SYS_flock},
    {"getrandom", SYS_getrandom}, {"io_uring_setup", SYS_io_uring_setup}, {"linkat", SYS_linkat},
    {"memfd_create", SYS_memfd_create}, {"openat2", SYS_openat2}, {"pidfd_open", SYS_pidfd_open},
    {"renameat2", SYS_renameat2}, {"rseq", SYS_rseq}, {"sendfile", SYS_sendfile}, {"splice", SYS_splice},
    {"statx", SYS_statx}, {"waitid", SYS_waitid},
};

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    struct sock_filter program[2 * sizeof calls / sizeof *calls + 2];
    unsigned short length = 0;
    unsigned error = (unsigned)atoi(argv[1]);
    program[length++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (char *name = strtok(argv[2], ","); name; name = strtok(NULL, ",")) {
        size_t at = 0;
        while (at < sizeof calls / sizeof *calls && strcmp(calls[at].name, name) != 0) at++;
        if (at == sizeof calls / sizeof *calls) return fprintf(stderr, "unknown call %s\n", name), 2;
        program[length++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)calls[at].number, 0, 1);
        program[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error);
    }
    program[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog all = {.len = length, .filter = program};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &all)) return 77;
    execv(argv[3], argv + 3);
    return 127;
}
