module github.com/weir-moderation/weir/scripts/dashboards

go 1.26.0
