// SPDX-License-Identifier: GPL-2.0
//
// A server of HTTP in Go, as static as CGO_ENABLED=0 makes it: no library can
// be preloaded into it.
//
//	goserver PORT			one process, and Go's own threads
//	goserver PORT WORKERS		processes that share a listening socket

package main

import (
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"syscall"
)

const listenerFD = 3

func serve(l net.Listener) {
	answer := func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "served\n")
	}
	log.Fatal(http.Serve(l, http.HandlerFunc(answer)))
}

// A socket that Go's poller does not know: a process that waits at it without
// accepting would have connections meant for it.
func listen(port int) (int, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return fd, err
	}
	if err = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return fd, err
	}
	if err = syscall.Bind(fd, &syscall.SockaddrInet4{Port: port}); err != nil {
		return fd, err
	}
	return fd, syscall.Listen(fd, 1024)
}

func start(workers, fd int) error {
	attr := &syscall.ProcAttr{
		Env:   append(os.Environ(), "WORKER=1", "GOMAXPROCS=1"),
		Files: []uintptr{0, 1, 2, uintptr(fd)},
		// They end with this thread.
		Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
	}
	runtime.LockOSThread()
	for i := 0; i < workers; i++ {
		if _, err := syscall.ForkExec("/proc/self/exe", os.Args, attr); err != nil {
			return err
		}
	}
	_, err := syscall.Wait4(-1, nil, 0, nil)
	return err
}

func main() {
	if os.Getenv("WORKER") != "" {
		l, err := net.FileListener(os.NewFile(listenerFD, "listener"))
		if err != nil {
			log.Fatal(err)
		}
		serve(l)
	}
	if len(os.Args) == 2 {
		l, err := net.Listen("tcp", ":"+os.Args[1])
		if err != nil {
			log.Fatal(err)
		}
		serve(l)
	}
	if len(os.Args) != 3 {
		log.Fatal("usage: goserver PORT [WORKERS]")
	}
	port, _ := strconv.Atoi(os.Args[1])
	workers, _ := strconv.Atoi(os.Args[2])
	fd, err := listen(port)
	if err == nil {
		err = start(workers, fd)
	}
	log.Fatal("goserver ends: ", err)
}
