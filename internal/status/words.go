package status

import (
	"cmp"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// language is one of the two languages of the page.
type language string

const (
	english language = "en"
	chinese language = "zh"
)

// languageOf returns what the address asks for, what was chosen before, or what the browser prefers.
func languageOf(r *http.Request) language {
	if l := language(r.URL.Query().Get("lang")); l == english || l == chinese {
		return l
	}
	if c, err := r.Cookie(languageCookie); err == nil && (c.Value == string(english) || c.Value == string(chinese)) {
		return language(c.Value)
	}
	best, most := english, 0.0
	for part := range strings.SplitSeq(r.Header.Get("Accept-Language"), ",") {
		tag, params, _ := strings.Cut(strings.TrimSpace(part), ";")
		weight := 1.0
		if q, ok := strings.CutPrefix(strings.TrimSpace(params), "q="); ok {
			weight, _ = strconv.ParseFloat(q, 64) // what is no number weighs nothing
		}
		base, _, _ := strings.Cut(strings.ToLower(tag), "-")
		if l := language(base); (l == english || l == chinese) && weight > most {
			best, most = l, weight
		}
	}
	return best
}

// of returns the words in a language.
func (w words) of(l language) string {
	if l == chinese {
		return w.zh
	}
	return w.en
}

// texts are the words of the page.
var texts = map[string]words{
	"title":        {"Weir", "Weir"},
	"skip":         {"Skip to the state", "跳到状态"},
	"language":     {"Language", "语言"},
	"theme":        {"Colours", "外观"},
	"auto":         {"Auto", "自动"},
	"light":        {"Light", "浅色"},
	"dark":         {"Dark", "深色"},
	"live":         {"live", "实时"},
	"lost":         {"not live, trying again", "连接中断，正在重试"},
	"reloads":      {"reloads every 10 s", "每 10 秒刷新"},
	"starting":     {"Weir has just started. This page comes in a moment.", "Weir 刚刚启动，页面马上就好。"},
	"well":         {"All is well", "一切正常"},
	"impaired":     {"Something wants attention", "有事项需要关注"},
	"broken":       {"Something is wrong", "出现故障"},
	"problems":     {"What is wrong", "问题"},
	"next":         {"Next", "下一步"},
	"runbook":      {"Runbook", "操作手册"},
	"since":        {"since", "始于"},
	"idle":         {"Nothing comes in.", "当前没有消息。"},
	"parts":        {"Health", "健康"},
	"part":         {"Part", "部件"},
	"state":        {"State", "状态"},
	"detail":       {"Detail", "说明"},
	"ok":           {"well", "正常"},
	"warn":         {"attention", "注意"},
	"down":         {"fault", "故障"},
	"kafka":        {"Kafka", "Kafka"},
	"redis":        {"Redis", "Redis"},
	"disk":         {"Disk", "磁盘"},
	"evidence":     {"Evidence", "证据"},
	"rules":        {"Rules", "规则"},
	"consumer":     {"Consumer", "消费"},
	"api":          {"Answers", "同步判定"},
	"answered":     {"answered in %s", "%s 内响应"},
	"free":         {"%s free", "剩余 %s"},
	"signed-of":    {"%s records", "%s 条记录"},
	"in-force-n":   {"%s in force", "%s 条生效"},
	"partitions-n": {"%s partitions", "%s 个分区"},

	"now":           {"Now", "当前"},
	"chart-in":      {"Messages in", "消息流入"},
	"chart-flagged": {"Flagged", "标记"},
	"chart-age":     {"Age when done", "完成时的消息年龄"},
	"chart-lag":     {"Waiting in Kafka", "Kafka 中等待"},
	"chart-judge":   {"Judging one message", "判定一条消息"},
	"chart-append":  {"Writing evidence", "写入证据"},
	"chart-push":    {"Deciding pushes", "决定推送"},
	"per-second":    {"per second", "每秒"},
	"messages":      {"messages", "条"},
	"as-table":      {"Table", "表格"},
	"time":          {"Time (UTC)", "时间（UTC）"},
	"at-most":       {"max", "最高"},
	"highest":       {"highest", "最高"},
	"timings":       {"Where the time goes", "耗时分布"},

	"flow":       {"Flow", "消息流"},
	"flow-note":  {"the last %s: what came in, and what became of it", "最近 %s 流入的消息及其去向"},
	"stream":     {"Stream", "来源"},
	"in":         {"in", "流入"},
	"judged":     {"judged", "已判定"},
	"outcome-of": {"Outcome", "去向"},
	"total":      {"Since start", "启动至今"},
	"window":     {"Within %s", "%s 内"},
	"post":       {"posts", "发布内容"},
	"push":       {"pushes", "推送"},
	"consent":    {"consent", "同意记录"},
	"outcome":    {"outcomes", "推送结果"},
	"passed":     {"passed", "放行"},
	"flagged":    {"flagged", "标记"},
	"allow":      {"allowed", "允许"},
	"defer":      {"deferred", "推迟"},
	"deny":       {"denied", "拒绝"},
	"applied":    {"applied", "已应用"},
	"dead":       {"dead letters", "死信"},
	"skipped":    {"skipped", "跳过"},
	"in-hand":    {"%s in hand", "处理中 %s"},

	"hits":            {"Hits", "命中"},
	"hits-note":       {"the last %s against the %s before", "最近 %s 与此前 %s 对比"},
	"hits-alone":      {"the last %s; there is nothing to compare it with yet", "最近 %s，尚无可对比的时段"},
	"category":        {"Category", "类别"},
	"by-category":     {"Hits by category", "命中：按类别"},
	"by-rule":         {"Hits by rule", "命中：按规则"},
	"rule":            {"Rule", "规则"},
	"change":          {"Change", "变化"},
	"new":             {"new", "新增"},
	"before":          {"before", "此前"},
	"no-hits":         {"No rule has hit.", "没有规则命中。"},
	"more-rules":      {"%s more rules", "另有 %s 条规则"},
	"more-categories": {"%s more categories", "另有 %s 个类别"},
	"shadow":          {"shadow", "影子"},
	"tripped":         {"without action", "已失效"},
	"decisions":       {"Push decisions", "推送决定"},
	"decision":        {"Decision", "决定"},
	"reason":          {"Reason", "原因"},
	"count":           {"Number", "数量"},
	"no-decisions":    {"No push has been decided.", "尚未决定任何推送。"},
	"dead-letters":    {"Dead letters", "死信"},
	"none-of-those":   {"None.", "无。"},

	"in-force":    {"In force", "生效中"},
	"rule-set":    {"Rule set", "规则集"},
	"policy":      {"Push policy", "推送策略"},
	"fingerprint": {"Fingerprint", "指纹"},
	"from":        {"From", "来源"},
	"age":         {"For", "已生效"},
	"terms":       {"%s rules, %s terms", "%s 条规则，%s 个词"},
	"halted-n":    {"%s halted", "已叫停 %s 项"},
	"off":         {"off", "未启用"},

	"log":           {"Evidence log", "证据日志"},
	"records":       {"Records", "记录"},
	"unsigned":      {"%s not signed yet", "%s 条尚未签名"},
	"all-signed":    {"all signed", "全部已签名"},
	"head":          {"Head", "日志头"},
	"last-signed":   {"Signed", "签名"},
	"published":     {"Published", "发布"},
	"not-published": {"nowhere", "不发布"},
	"never":         {"not yet", "尚未"},
	"scrubbed":      {"Read again", "复核"},
	"scrub-off":     {"off", "未启用"},
	"on-disk":       {"On disk", "占用"},
	"ago":           {"%s ago", "%s前"},

	"lag":     {"Partitions", "分区"},
	"topic":   {"Topic", "主题"},
	"waiting": {"Waiting", "等待"},
	"oldest":  {"Oldest", "最久"},
	"no-lag":  {"No partitions are read.", "没有读取任何分区。"},
	"all-n":   {"All %s", "全部 %s 个"},
	"first-n": {"the %s that wait most", "等待最多的 %s 个"},

	"footer":  {"Everything here is counted by this process; texts and user ids never are.", "本页数字均由本进程统计，不包含任何正文或用户标识。"},
	"metrics": {"Metrics", "指标"},
	"json":    {"This page as JSON", "本页 JSON"},
	"ready":   {"Readiness", "就绪检查"},
	"manual":  {"Operations", "运维手册"},
}

// reasons say what the words of decisions mean.
var reasons = map[string]words{
	"none":          {"nothing stands against it", "没有阻碍"},
	"content":       {"its text hit a rule", "内容命中规则"},
	"unknown-class": {"class or channel is not in the policy", "类别或渠道不在策略中"},
	"halted":        {"campaign, sender or class is stopped", "活动、发送方或类别被叫停"},
	"cancelled":     {"cancelled after it was allowed", "允许后被取消"},
	"expired":       {"its deadline has passed", "已过期限"},
	"group":         {"class is forbidden for the user's group", "该用户群体禁止此类别"},
	"unlabelled-ad": {"advertising without its label", "广告未标明"},
	"no-consent":    {"the user has not agreed", "用户未同意"},
	"withdrawn":     {"the user has withdrawn consent", "用户已撤回同意"},
	"quiet-hours":   {"it is rest time where the user is", "用户处于休息时段"},
	"cap":           {"the user has had as many as a limit allows", "用户已达限额"},
	"store":         {"Redis is away or unsure", "Redis 不可用或不确定"},
	"held":          {"what the user agreed to is not known", "用户同意情况未知"},
}

// number writes a whole number with its thousands apart.
func number[N int | int64](n N) string {
	s := strconv.FormatInt(int64(n), 10)
	sign := ""
	if s[0] == '-' {
		sign, s = "−", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// perSecondText writes a rate with as many places as say something.
func rate(v float64) string {
	switch {
	case math.IsNaN(v):
		return "–"
	case v == 0:
		return "0"
	case v < 0.1:
		return fmt.Sprintf("%.2f", v)
	case v < 9.95:
		return fmt.Sprintf("%.1f", v)
	}
	return number(int64(math.Round(v)))
}

// seconds writes how long something took: 1.2 ms, 340 ms, 2.5 s.
func seconds(v float64) string {
	digits := func(v float64, unit string) string {
		switch {
		case v < 9.95:
			return strconv.FormatFloat(v, 'f', 1, 64) + " " + unit
		}
		return strconv.FormatFloat(v, 'f', 0, 64) + " " + unit
	}
	switch {
	case math.IsNaN(v):
		return "–"
	case v <= 0:
		return "0 s"
	case v < 1e-3:
		return digits(v*1e6, "µs")
	case v < 1:
		return digits(v*1e3, "ms")
	}
	return digits(v, "s")
}

// size writes bytes for people.
func size(n int64) string {
	v, unit := float64(n), 0
	for v >= 1024 && unit < 5 {
		v /= 1024
		unit++
	}
	units := [...]string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	if unit == 0 || v >= 99.5 {
		return fmt.Sprintf("%.0f %s", v, units[unit])
	}
	return fmt.Sprintf("%.1f %s", v, units[unit])
}

// span writes a time that has passed, in its one or two largest units.
func (l language) span(d time.Duration) string {
	units := []struct {
		of     time.Duration
		en, zh string
	}{{24 * time.Hour, "d", "天"}, {time.Hour, "h", "小时"}, {time.Minute, "min", "分钟"}, {time.Second, "s", "秒"}}
	d = max(d, 0)
	for i, u := range units {
		n := d / u.of
		if n == 0 && u.of != time.Second {
			continue
		}
		unit := func(n time.Duration, en, zh string) string {
			return fmt.Sprintf("%d %s", n, cmp.Or(map[language]string{chinese: zh}[l], en))
		}
		text := unit(n, u.en, u.zh)
		// Two units while the first one is small.
		if i+1 < len(units) && n < 3 {
			if rest := d % u.of / units[i+1].of; rest > 0 {
				text += " " + unit(rest, units[i+1].en, units[i+1].zh)
			}
		}
		return text
	}
	return ""
}
