/* usage: PROGRAM [PATTERN]    runs the tests whose SUITE/NAME matches, each in a child of its own */
#include "criterion.h"

#include <fnmatch.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

struct shim_test *shim_tests;
struct shim_suite *shim_suites;
bool shim_failed;

static void run(const struct shim_test *test)
{
	const struct shim_suite *suite = shim_suites;

	while (suite && strcmp(suite->name, test->suite) != 0)
		suite = suite->next;
	if (suite && suite->options.init)
		suite->options.init();
	if (test->options.init)
		test->options.init();
	test->run();
	if (test->options.fini)
		test->options.fini();
	if (suite && suite->options.fini)
		suite->options.fini();
	exit(shim_failed);
}

int main(int argc, char **argv)
{
	unsigned passed = 0, failed = 0;

	for (const struct shim_test *test = shim_tests; test; test = test->next) {
		char name[256];
		int status = 0;
		snprintf(name, sizeof(name), "%s/%s", test->suite, test->name);
		if (argc > 1 && fnmatch(argv[1], name, 0) != 0)
			continue;
		fflush(NULL);
		pid_t child = fork();
		if (child == 0)
			run(test);
		if (child < 0 || waitpid(child, &status, 0) != child)
			abort();
		bool right =
			test->options.signal > 0
				? WIFSIGNALED(status) && WTERMSIG(status) == test->options.signal
				: status == 0;
		if (!right)
			printf("FAIL  %s (status %x)\n", name, (unsigned)status);
		passed += right;
		failed += !right;
	}
	printf("%u passed, %u failed\n", passed, failed);
	return failed > 0 || passed == 0;
}
