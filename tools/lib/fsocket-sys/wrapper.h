/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What bindgen reads. It cannot evaluate _IO(), so that each command is named
 * once more as an enumerator, which the compiler evaluates.
 */
#include "../../../include/uapi/linux/fastsocket.h"

enum fsocket_command {
	FSOCKET_CMD_SOCKET = FSOCKET_IOC_SOCKET,
	FSOCKET_CMD_LISTEN = FSOCKET_IOC_LISTEN,
	FSOCKET_CMD_ACCEPT = FSOCKET_IOC_ACCEPT,
	FSOCKET_CMD_CLOSE = FSOCKET_IOC_CLOSE,
	FSOCKET_CMD_EPOLL_CTL = FSOCKET_IOC_EPOLL_CTL,
	FSOCKET_CMD_SPAWN_LISTEN = FSOCKET_IOC_SPAWN_LISTEN,
	FSOCKET_CMD_SHUTDOWN_LISTEN = FSOCKET_IOC_SHUTDOWN_LISTEN,
	FSOCKET_CMD_SPAWN_ALL_LISTEN = FSOCKET_IOC_SPAWN_ALL_LISTEN,
};
