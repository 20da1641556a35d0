/*
 * kcpcat: netcat over KCP, byte-compatible with kcp-go. Also the example of a program that uses nothing but the
 * public headers: options.c reads the command line, socket.c is the network, pump.c the loop, outlet.c
 * where messages go.
 */
#include "options.h"
#include "pump.h"
#include "socket.h"

#include <fcntl.h>
#include <unistd.h>

/* Standard streams that were closed are opened on nothing, or a socket would become one of them. */
static void fill_standard_streams(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd > STDERR_FILENO)
		(void)close(fd);
}

int main(int argc, char **argv)
{
	struct options options;
	struct udp_socket socket;
	enum exit_status status = EXIT_STATUS_OTHER;

	fill_standard_streams();
	int parsed = options_parse(argc, argv, &options);
	if (parsed != EXIT_STATUS_OK) {
		options_wipe(&options);
		return parsed < 0 ? EXIT_STATUS_OK : parsed;
	}
	if (udp_socket_open(&socket, options.host, options.port, options.listen) == 0) {
		struct pump *pump = pump_new(&options, &socket);
		if (pump)
			status = pump_run(pump);
		pump_free(pump);
		udp_socket_close(&socket);
	}
	options_wipe(&options);
	return (int)status;
}
