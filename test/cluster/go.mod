module tcp-log-server/test/cluster

go 1.26.0
