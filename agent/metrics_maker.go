package agent

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// maker makes metrics of the program's namespace, and registers them.
type maker struct {
	to      *prometheus.Registry
	native  bool
	version string
}

const namespace = "vertex_spoa"

func (k maker) counter(name, help string) prometheus.Counter {
	return promauto.With(k.to).NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help})
}

func (k maker) counters(name, help string, labels ...string) *prometheus.CounterVec {
	return promauto.With(k.to).NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

func (k maker) gauge(name, help string) prometheus.Gauge {
	return promauto.With(k.to).NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help})
}

func (k maker) gauges(name, help string, labels ...string) *prometheus.GaugeVec {
	return promauto.With(k.to).NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

// read makes a gauge whose value is asked for.
func (k maker) read(name, help string, value func() float64) {
	promauto.With(k.to).NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, value)
}

func (k maker) histogram(name, help string, buckets []float64) prometheus.Histogram {
	return promauto.With(k.to).NewHistogram(k.histogramOf(name, help, buckets))
}

func (k maker) histograms(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return promauto.With(k.to).NewHistogramVec(k.histogramOf(name, help, buckets), labels)
}

// histogramOf describes a histogram with classic buckets. Native ones besides are 10 percent wide; of more than 160 the finest are joined.
func (k maker) histogramOf(name, help string, buckets []float64) prometheus.HistogramOpts {
	o := prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets}
	if k.native {
		o.NativeHistogramBucketFactor, o.NativeHistogramMaxBucketNumber, o.NativeHistogramMinResetDuration = 1.1, 160, time.Hour
	}
	return o
}
