/* Times N rounds of spawn-and-wait of each program in turn, and prints the times in nanoseconds: one line a round. */
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

static long long once(char *program) {
    struct timespec a, b;
    posix_spawn_file_actions_t actions;
    char *argv[] = {program, NULL};
    pid_t pid;
    int status;
    posix_spawn_file_actions_init(&actions);
    for (int fd = 0; fd < 3; fd++) posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_RDWR, 0);
    clock_gettime(CLOCK_MONOTONIC, &a);
    if (posix_spawn(&pid, program, &actions, NULL, argv, environ) != 0) exit(1);
    if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0) exit(2);
    clock_gettime(CLOCK_MONOTONIC, &b);
    posix_spawn_file_actions_destroy(&actions);
    return (b.tv_sec - a.tv_sec) * 1000000000LL + b.tv_nsec - a.tv_nsec;
}

int main(int argc, char **argv) {
    int n = atoi(argv[1]);
    for (int i = 0; i < n; i++) {
        for (int p = 2; p < argc; p++) printf("%lld%c", once(argv[p]), p + 1 < argc ? ' ' : '\n');
    }
    return 0;
}
