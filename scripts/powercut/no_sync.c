/* no_sync COMMAND [ARG...]: runs COMMAND with every sync of a file, a directory
 * or a file system answered by 0 without being done. A seccomp filter, so that
 * it holds whichever way the program calls the kernel. x86-64 only.
 *
 * The control of check-powercut.sh: a server that runs like this must lose mail.
 */

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ANSWER_ZERO(number) \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1), \
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 0)

int main(int argc, char **argv)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        ANSWER_ZERO(__NR_fsync),
        ANSWER_ZERO(__NR_fdatasync),
        ANSWER_ZERO(__NR_sync),
        ANSWER_ZERO(__NR_syncfs),
        ANSWER_ZERO(__NR_sync_file_range),
        ANSWER_ZERO(__NR_msync),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};

    if (argc < 2) {
        fputs("usage: no_sync COMMAND [ARG...]\n", stderr);
        return 2;
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
        perror("no_sync: seccomp");
        return 1;
    }
    execv(argv[1], argv + 1);
    perror(argv[1]);
    return 1;
}
