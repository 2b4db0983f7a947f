/* A small reference: options, stdin, files, errors, binary output and a signal. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int upper(void) {
    int c;
    while ((c = getchar()) != EOF)
        putchar(c >= 'a' && c <= 'z' ? c - 32 : c);
    return 0;
}

static int make(const char *what) {
    FILE *f;
    mkdir("out", 0755);
    mkdir("out/deep", 0755);
    if (!(f = fopen("out/deep/file", "w")))
        return 1;
    fprintf(f, "made %s\n", what);
    fclose(f);
    chmod("out/deep/file", 0600);
    return symlink("deep/file", "out/link");
}

static int edit(const char *path) {
    FILE *f = fopen(path, "a");
    if (!f)
        return 1;
    fputs("more\n", f);
    fclose(f);
    unlink("old/a/b");
    rmdir("old/a");
    if (rmdir("old") == 0)
        return 0;
    fputs("toy: old: No such file or directory\n", stderr);
    return 1;
}

static int ask(void) {
    char name[64] = "";
    fputs("name? ", stdout);
    fflush(stdout);
    if (fgets(name, sizeof name, stdin))
        name[strcspn(name, "\r\n")] = 0;
    printf("hi %s\n", name);
    return 0;
}

int main(int argc, char **argv) {
    const char *command = argc > 1 ? argv[1] : "", *what = argc > 2 ? argv[2] : "";
    if (!*command)
        return 0;
    if (!strcmp(command, "--help"))
        return puts("usage: toy COMMAND [FILE]\n\ncommands: upper, write, edit, bin, ask, env, die") < 0;
    if (!strcmp(command, "upper"))
        return upper();
    if (!strcmp(command, "write"))
        return make(what);
    if (!strcmp(command, "edit"))
        return edit(what);
    if (!strcmp(command, "bin"))
        return fwrite("a\0b\377\\\"?\n\t", 1, 9, stdout) != 9;
    if (!strcmp(command, "ask"))
        return ask();
    if (!strcmp(command, "env"))
        return puts(getenv("TOY") ? getenv("TOY") : "unset") < 0;
    if (!strcmp(command, "die"))
        return raise(SIGSEGV);
    fprintf(stderr, "toy: unknown command: %s\n", command);
    return 64;
}
