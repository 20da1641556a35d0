#include "cli/command.h"
int verb_doctor(struct cli *cli, const char *const *args, int count){(void)cli;(void)args;(void)count;return 0;}
